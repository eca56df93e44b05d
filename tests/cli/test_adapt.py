"""`affetto train my.csv` with few clips: the default bundle, here a tiny one, is adapted."""

import csv

import pytest
import soundfile

from affetto.bundle import open_bundle, opening
from affetto.cli.app import main
from affetto.learn.training.run_folder import RunFolder
from affetto.predictor import Predictor
from digests import digest
from sounds import voice_like

pytestmark = pytest.mark.usefixtures("quick_export")
ONE_EPOCH = ("--set", "train.stages.0.epochs=1")


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch):
    """Drawing takes longer than these runs."""
    monkeypatch.setattr(RunFolder, "write_curves", lambda *_: None)


@pytest.fixture
def manifest(tmp_path, tiny_bundle, monkeypatch):
    monkeypatch.setattr(opening, "DEFAULT_BUNDLE", tiny_bundle.path)

    def write(emotions=("angry", "sad"), people=4, broken=0, column="emotion"):
        rows = []
        for i in range(16):
            soundfile.write(tmp_path / f"{i}.wav", 0.5 * voice_like(0.5, seed=i), 16000)
            rows.append((f"{i}.wav", f"p{i % people}", emotions[i // people % 2]))
        with open(tmp_path / "my.csv", "w", newline="") as file:
            csv.writer(file).writerows([("path", "speaker", column), *rows])
        for i in range(broken):
            (tmp_path / f"{i}.wav").write_bytes(b"RIFF, and nothing of the kind")
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


def test_of_one_speaker_each_clip_is_left_out_in_turn_and_what_cannot_be_read_is_named(
    manifest, tmp_path, capsys
):
    assert run(manifest(people=1, broken=1), "-o", tmp_path / "run") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "15 clips, each left out in turn" in out
    assert "1 clips left out" in out
    table = (tmp_path / "run" / "unreadable.csv").read_text().splitlines()
    assert len(table) == 2
    assert "0.wav" in table[1]


def test_more_than_a_tenth_that_cannot_be_read_stop_it(manifest, tmp_path, capsys):
    assert run(manifest(broken=3), "-o", tmp_path / "run") == 2
    assert "[corpus_unreadable]" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["low-rank", "all"])
def test_the_weights_learn_on_from_the_default_ones(manifest, tmp_path, tiny_bundle, capsys, how):
    assert run(manifest(), "-o", tmp_path / "run", "--adapt", how, *ONE_EPOCH) == 0
    assert "before" in capsys.readouterr().out
    made = open_bundle(tmp_path / "run" / "bundle")
    assert [task.labels for task in made.info.tasks] == [task.labels for task in tiny_bundle.info.tasks]
    assert made.info.licence == tiny_bundle.info.licence
    assert made.info.reserved == tiny_bundle.info.reserved
    assert made.info.parts.text.languages == tiny_bundle.info.parts.text.languages
    # What the clips do not bring has not moved; what they bring has.
    for precision in tiny_bundle.precisions():
        assert digest(made.read_part("vision", precision)) == digest(
            tiny_bundle.read_part("vision", precision)
        )
    speech = [Predictor(b).predict(speech=voice_like(1.0)).probabilities for b in (tiny_bundle, made)]
    assert speech[0] != pytest.approx(speech[1], abs=1e-4)
    text = Predictor(made, precision="fp32").predict(text="leave me alone")
    assert set(text.probabilities) == set(speech[0])


def test_labels_of_ones_own_become_a_task_beside_the_emotion(manifest, tmp_path, tiny_bundle):
    path = manifest(("calling", "asking"), column="label:wish")
    assert run(path, "-o", tmp_path / "run", "--adapt", "head", *ONE_EPOCH) == 0
    made = open_bundle(tmp_path / "run" / "bundle")
    assert made.info.task("wish").labels == ("asking", "calling")
    assert made.info.task("emotion") == tiny_bundle.info.task("emotion")
    # Its encoder stood still: in int8, too, it is the part that was there, with the scales that it had.
    for file in ("speech.onnx", "speech.int8.onnx"):
        assert digest(made.read(file)) == digest(tiny_bundle.read(file))
    answer = Predictor(made).predict(speech=voice_like(1.0))
    assert answer.tasks["wish"]["label"] in ("asking", "calling")
    assert set(answer.probabilities) == set(tiny_bundle.info.task("emotion").labels)


@pytest.mark.parametrize(
    ("emotion", "more", "code"),
    [
        ("happy", ("--adapt", "half"), "[option_invalid]"),
        ("happy", ("--adapt", "head", "--set", "seed=1"), "[option_invalid]"),
        ("bored", ("--adapt", "head"), "[label_unknown]"),
    ],
)
def test_what_cannot_be_adapted_is_one_line(manifest, tmp_path, capsys, emotion, more, code):
    assert run(manifest(emotions=("angry", emotion)), "-o", tmp_path / "run", *more) == 2
    err = capsys.readouterr().err
    assert code in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_an_experiment_is_no_manifest(capsys):
    assert run("tiny", "--adapt", "head") == 2
    assert "[option_invalid]" in capsys.readouterr().err
