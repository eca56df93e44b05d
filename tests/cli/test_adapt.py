"""`affetto train my.csv` with few clips: the default bundle, here a tiny one, is adapted."""

import csv

import pytest
import soundfile

from affetto import bundle as bundles
from affetto.bundle import open_bundle
from affetto.cli.app import main
from sounds import voice_like


@pytest.fixture
def manifest(tmp_path, tiny_bundle, monkeypatch):
    monkeypatch.setattr(bundles, "DEFAULT_BUNDLE", tiny_bundle.path)

    def write(emotions=("angry", "sad"), people=4):
        rows = []
        for i in range(16):
            soundfile.write(tmp_path / f"{i}.wav", 0.5 * voice_like(0.5, seed=i), 16000)
            rows.append((f"{i}.wav", f"p{i % people}", emotions[i // people % 2]))
        with open(tmp_path / "my.csv", "w", newline="") as file:
            csv.writer(file).writerows([("path", "speaker", "emotion"), *rows])
        return tmp_path / "my.csv"

    return write


def run(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["train", *map(str, arguments)])
    return stopped.value.code


def test_before_and_after_on_a_speaker_who_was_held_out(manifest, tmp_path, capsys):
    assert run(manifest(), "-o", tmp_path / "run") == 0
    out = capsys.readouterr().out
    assert "before" in out
    assert "on 4 held-out clips" in out
    made = open_bundle(tmp_path / "run" / "bundle")
    assert (made.info.name, made.info.corpora[-1].clips) == ("my", 12)


def test_one_speaker_leaves_clips_out(manifest, tmp_path, capsys):
    assert run(manifest(people=1), "-o", tmp_path / "run") == 0
    assert "16 clips, each left out in turn" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (("--adapt", "half"), "[option_invalid]"),
        (("--adapt", "head", "--set", "seed=1"), "[option_invalid]"),
        (("--adapt", "head"), "[label_unknown]"),
    ],
)
def test_what_cannot_be_adapted_is_one_line(manifest, tmp_path, capsys, more, code):
    assert run(manifest(emotions=("angry", "bored")), "-o", tmp_path / "run", *more) == 2
    err = capsys.readouterr().err
    assert code in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_an_experiment_is_no_manifest(capsys):
    assert run("tiny", "--adapt", "head") == 2
    assert "[option_invalid]" in capsys.readouterr().err
