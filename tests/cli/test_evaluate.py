"""`affetto evaluate`: figures of a bundle whose answers are known."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from affetto.bundle import Bundle
from affetto.cli import app
from affetto.cli.evaluate import true_emotion
from affetto.records import Clip
from sounds import voice_like

ROWS = (
    # id, path, text, emotion, speaker, split; the plain bundle answers anger, happiness, sadness, sadness
    ("a", "clips/up.wav", "", "anger", "s1", "test"),
    ("b", "clips/down.wav", "", "happiness", "s1", "test"),
    ("c", "", "gloomy", "sadness", "s2", "test"),
    ("d", "", "gloomy", "anger", "s2", "test"),
    ("e", "", "happy", "happiness", "s3", "train"),
    ("f", "clips/gone.wav", "", "anger", "s3", "test"),
    ("g", "", "happy", "", "s3", "test"),
)


@pytest.fixture
def manifest(tmp_path: Path, wav: Callable[..., Path]) -> Path:
    voice = voice_like(0.8)
    voice -= voice.mean()
    wav((voice + 0.1).astype(np.float32), "clips/up.wav")
    wav((voice - 0.1).astype(np.float32), "clips/down.wav")
    path = tmp_path / "clips.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([("id", "path", "text", "emotion", "speaker", "split"), *ROWS])
    return path


@pytest.fixture
def run(plain_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> Callable[..., SimpleNamespace]:
    def call(*arguments: object) -> SimpleNamespace:
        with pytest.raises(SystemExit) as done:
            app.main(["evaluate", *map(str, arguments), "--bundle", str(plain_bundle.path)])
        out, err = capsys.readouterr()
        return SimpleNamespace(code=int(done.value.code or 0), out=out, err=err)

    return call


def test_the_report(run: Callable, manifest: Path) -> None:
    done = run(manifest, "--json", "--split", "test")
    report = json.loads(done.out)
    assert report["n"] == 4
    assert report["wa"] == 0.75
    assert report["uar"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert report["coverage"] == 1.0
    assert (report["skipped"], report["failed"]) == (1, 1)
    anger, sadness = report["labels"].index("anger"), report["labels"].index("sadness")
    assert report["confusion"][anger][sadness] == 1
    assert report["groups"]["speaker"].keys() == {"s1", "s2"}
    assert "failed: " in done.err
    assert "gone.wav" in done.err
    assert "[media_not_found]" in done.err
    assert "skipped: 1" in done.err


def test_the_table_is_clean_in_a_pipe(run: Callable, manifest: Path) -> None:
    done = run(manifest)
    assert done.code == 0
    assert "UAR" in done.out
    assert "\x1b" not in done.out


def test_predictions_are_kept(run: Callable, manifest: Path, tmp_path: Path) -> None:
    run(manifest, "-o", tmp_path / "answers.csv")
    rows = list(csv.DictReader((tmp_path / "answers.csv").open()))
    assert [row["id"] for row in rows] == ["a", "b", "c", "d", "e", "f"]
    assert rows[3]["truth"] == "anger"
    assert rows[3]["emotion"] == "sadness"
    assert "[media_not_found]" in rows[5]["error"]


def test_labels_restrict_clips_and_answers(run: Callable, manifest: Path) -> None:
    report = json.loads(run(manifest, "--json", "--labels", "sad,angry").out)
    assert report["labels"] == ["anger", "sadness"]
    assert report["n"] == 3


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("gone.csv",), "manifest_not_found"), (("--split", "nowhere"), "nothing_to_predict")],
)
def test_errors_are_one_line(run: Callable, manifest: Path, arguments: tuple[str, ...], code: str) -> None:
    done = run(*([] if code == "manifest_not_found" else [manifest]), *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith(f"[{code}]\n")
    assert done.err.count("\n") == 1


def test_the_one_true_emotion() -> None:
    def of(label: object) -> str | None:
        return true_emotion(Clip("x", labels={"emotion": label} if label is not None else {}))  # type: ignore[dict-item]

    assert of("fear") == "fear"
    assert of(("fear",)) == "fear"
    assert of(("fear", "anger")) is None
    assert of({"fear": 0.6, "anger": 0.4}) == "fear"
    assert of({"fear": 0.5, "anger": 0.5}) is None
    assert of({}) is None
    assert of(0.5) is None
    assert of(None) is None
