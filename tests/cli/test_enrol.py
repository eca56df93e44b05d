"""`affetto enrol`, and `affetto predict --speaker`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from affetto.bundle import Bundle
from affetto.cli import app
from sounds import voice_like


def hum(offset: float) -> np.ndarray:
    """A voice upon an offset: the plain bundle's anger is 20 x the offset."""
    voice = voice_like(0.6)
    return (voice - voice.mean() + offset).astype(np.float32)


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as done:
        app.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(done.value.code or 0), out, err


def test_from_recordings_to_an_answer(
    wav: Callable[..., Path], tmp_path: Path, plain_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    for place, offset in enumerate((0.4, 0.3, 0.4, -0.15, -0.2)):  # more often and more surely angry
        wav(hum(offset), f"in/{place}.wav")
    (tmp_path / "in" / "broken.wav").write_text("no recording")
    anna, bundle = tmp_path / "anna.json", ("--bundle", plain_bundle.path)
    code, out, err = call(capsys, "enrol", tmp_path / "in", "-o", anna, *bundle)
    assert code == 3
    assert "broken.wav" in err
    assert "heard 5 recordings" in out
    shift = json.loads(anna.read_bytes())["shift"]
    assert shift["anger"] == min(shift.values()) < 0

    asked = ("predict", tmp_path / "in" / "1.wav", "--json", *bundle)
    before = json.loads(call(capsys, *asked)[1])["probabilities"]
    after = json.loads(call(capsys, *asked, "--speaker", anna)[1])["probabilities"]
    assert after["anger"] < before["anger"]
    rows = call(capsys, "predict", tmp_path / "in", "--json", "--speaker", anna, *bundle)[1].splitlines()
    assert json.loads(rows[1])["probabilities"] == after


def test_recordings_that_sound_alike_are_told(
    wav: Callable[..., Path], tmp_path: Path, plain_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    anna = tmp_path / "anna.json"
    code, out, _ = call(capsys, "enrol", wav(hum(0.1)), "-o", anna, "--bundle", plain_bundle.path)
    assert code == 0
    assert "nothing is corrected" in out
    assert set(json.loads(anna.read_bytes())["shift"].values()) == {0.0}
    told = ("enrol", wav(hum(0.1)), "-o", anna, "--all-moods", "--bundle", plain_bundle.path)
    code, out, _ = call(capsys, *told)
    assert code == 0
    assert "nothing is corrected" not in out
    assert any(json.loads(anna.read_bytes())["shift"].values())


def test_errors_are_one_line(
    wav: Callable[..., Path],
    tmp_path: Path,
    plain_bundle: Bundle,
    variant: Callable[..., Bundle],
    capsys: pytest.CaptureFixture[str],
) -> None:
    anna, sound = tmp_path / "anna.json", wav(hum(0.1))
    call(capsys, "enrol", sound, "-o", anna, "--bundle", plain_bundle.path)
    other = variant(name="other").path
    code, _, err = call(capsys, "predict", sound, "--speaker", anna, "--bundle", other)
    assert (code, err.count("\n")) == (2, 1)
    assert "[speaker_other_model]" in err
    code, _, err = call(capsys, "predict", sound, "--speaker", sound, "--bundle", other)
    assert (code, "[speaker_invalid]" in err) == (2, True)
