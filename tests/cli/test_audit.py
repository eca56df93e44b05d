"""`affetto audit`: a manifest with mistakes in, what they are out; exit code 2 for leaks."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from affetto.cli.app import main
from sounds import voice_like


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Ann stands in two splits, one file is text, one clip has no transcript."""
    soundfile.write(tmp_path / "a.wav", voice_like(1.2, seed=1), 16000)
    soundfile.write(tmp_path / "b.wav", voice_like(1.4, seed=2), 16000)
    (tmp_path / "c.wav").write_text("not a recording")
    rows = [
        ("1", "a.wav", "the first thing she said", "anger", "ann", "train"),
        ("2", "b.wav", "", "fear", "ann", "test"),
        ("3", "c.wav", "what nobody can listen to", "fear", "bob", "test"),
    ]
    path = tmp_path / "manifest.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "path", "text", "emotion", "speaker", "split"), *rows])
    return path


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["audit", *map(str, arguments)])
    return int(ended.value.code or 0)


def test_mistakes_are_told_and_leaks_end_with_2(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(manifest) == 2
    said = capsys.readouterr().out
    assert "ann (in test and train) [speaker_leak] -> give each one split only" in said
    assert "[unreadable]" in said
    assert "1 of 3 clips have no transcript" in said
    assert "3 clips of 2 speakers, 0.0 h: 1 leak, 1 problem, 1 note" in said


def test_a_folder_is_looked_through_and_json_holds_every_clip(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(manifest.parent, "--json", "--no-media") == 2
    found = json.loads(capsys.readouterr().out)
    corpus = manifest.parent.name
    assert found["findings"][0]["clips"] == [f"{corpus}/1", f"{corpus}/2"]
    assert found["counts"]["media"] == 0


def test_the_findings_are_written(manifest: Path, tmp_path: Path) -> None:
    for name in ("found.html", "found.json"):
        assert run(manifest, "-o", tmp_path / name) == 2
    assert "<!doctype html>" in (tmp_path / "found.html").read_text()
    assert json.loads((tmp_path / "found.json").read_text())["findings"]


def test_a_clean_manifest_ends_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.csv").write_text("id,text,speaker,split\n1,one thing,ann,train\n2,another,bob,test\n")
    assert run(tmp_path / "m.csv") == 0
    assert capsys.readouterr().out == "2 clips of 2 speakers, 0.0 h: 0 leaks, 0 problems, 0 notes\n"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("{here}",), "manifest_not_found"),
        (("{here}/none.csv",), "manifest_not_found"),
        (("x.csv", "-o", "a.txt"), "option_invalid"),
    ],
)
def test_what_cannot_be_audited_is_one_line(
    arguments: tuple[str, ...], code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*(argument.format(here=tmp_path) for argument in arguments)) == 2
    assert f"[{code}]" in capsys.readouterr().err


def test_silence_is_a_fault_not_a_crash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000, np.int16), 16000)
    (tmp_path / "m.csv").write_text("id,path\n1,silent.wav\n")
    assert run(tmp_path / "m.csv") == 0
    assert "audio_silent" in capsys.readouterr().out
