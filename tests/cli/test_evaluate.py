"""`affetto evaluate`: figures of a bundle whose answers are known."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from affetto.bundle import Bundle
from affetto.cli import app
from affetto.cli.evaluate import true_emotion
from affetto.cli.evaluated import _about, with_noise
from affetto.evaluation.answers import Answer, from_lines
from affetto.evaluation.summary import summarise
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


def test_what_the_model_may_have_learnt_from_is_said(
    run: Callable, manifest: Path, plain_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Corpora go by the name of their manifest, or of its folder; people who were kept out are no concern."""
    assert "caution" not in run(manifest).err
    copy = Path(shutil.copytree(plain_bundle.path, tmp_path / "copy"))
    contract = json.loads((copy / "bundle.json").read_text())
    contract |= {"corpora": [{"name": "clips", "licence": "none"}], "reserved": {"clips": ["s2"]}}
    (copy / "bundle.json").write_text(json.dumps(contract))
    tested = manifest.read_text()
    manifest.write_text(tested.replace(",test", ","))
    with pytest.raises(SystemExit):
        app.main(["evaluate", str(manifest), "--json", "--bundle", str(copy)])
    out, err = capsys.readouterr()
    assert json.loads(out)["learnt"] == 4  # of six, two of s2
    assert "may have learnt from 4 of 6 clips" in err
    manifest.write_text(tested)
    with pytest.raises(SystemExit):
        app.main(["evaluate", str(manifest), "--json", "--bundle", str(copy)])
    assert json.loads(capsys.readouterr().out)["learnt"] == 1  # the others are a test part


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


@pytest.fixture
def stored(run: Callable, manifest: Path, tmp_path: Path) -> list[Answer]:
    done = run(manifest, "--report", tmp_path / "out.html")
    assert done.code == 0, done.err
    return from_lines((tmp_path / "out.predictions.jsonl").read_text())


def test_the_page_lies_beside_what_it_is_computed_from(stored: list[Answer], tmp_path: Path) -> None:
    page = (tmp_path / "out.html").read_text()
    figures = summarise(stored)
    assert figures["n"] == 5
    assert figures["failed"] == 1
    assert f'<p class="value">{100 * figures["uar"]:.1f} %</p>' in page
    assert "affetto evaluate clips.csv --bundle" in page
    assert "--report out.html" in page
    assert str(tmp_path) not in page
    assert "CC0-1.0" in page


def test_the_page_says_what_training_was_allowed(plain_bundle: Bundle) -> None:
    leaky = plain_bundle.info.model_copy(update={"leaks": ("speaker ann stands in train and test",)})
    for info, told in ((plain_bundle.info, False), (leaky, True)):
        model = SimpleNamespace(bundle=SimpleNamespace(info=info, sha256="0"), precision="fp32")
        facts = dict(_about(model))  # type: ignore[arg-type]
        assert ("trained although" in facts) == told
    assert facts["trained although"] == "speaker ann stands in train and test"


def test_speech_is_asked_again_with_noise(
    stored: list[Answer], run: Callable, manifest: Path, tmp_path: Path
) -> None:
    noisy = [(a.id, a.snr, a.inputs) for a in stored if a.trial == "noise"]
    assert noisy == [(name, snr, ("speech",)) for name in "ab" for snr in (20.0, 10.0, 0.0)]
    run(manifest, "--report", tmp_path / "quiet.html", "--no-noise")
    quiet = from_lines((tmp_path / "quiet.predictions.jsonl").read_text())
    assert quiet == [a for a in stored if a.trial != "noise"]


def test_every_subset_of_what_a_clip_has_is_asked(run: Callable, manifest: Path, tmp_path: Path) -> None:
    with manifest.open("a") as stream:
        stream.write("both,clips/up.wav,gloomy,anger,s1,test\n")
    run(manifest, "--report", tmp_path / "out.html", "--no-noise")
    stored = from_lines((tmp_path / "out.predictions.jsonl").read_text())
    asked = {a.inputs: a for a in stored if a.id == "both"}
    assert list(asked) == [("speech", "text"), ("speech",), ("text",)]
    assert [a.trial for a in asked.values()] == ["all", "subset", "subset"]
    alone = {a.id: a.probabilities for a in stored if a.id in "ac"}
    assert asked["speech",].probabilities == pytest.approx(alone["a"])
    assert asked["text",].probabilities == pytest.approx(alone["c"])
    assert "Modalities" in (tmp_path / "out.html").read_text()


def test_mistakes_can_be_heard(run: Callable, manifest: Path, tmp_path: Path) -> None:
    with manifest.open("a") as stream:
        stream.write("wrong,clips/up.wav,,sadness,s1,test\n")
    run(manifest, "--report", tmp_path / "out.html", "--no-noise")
    page = (tmp_path / "out.html").read_text()
    (source,) = re.findall(r'<audio [^>]*src="data:audio/flac;base64,([^"]+)"', page)
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(source)))
    assert rate == 16000
    assert len(samples) == pytest.approx(0.8 * rate, abs=2)


def test_another_run_is_compared(stored: list[Answer], run: Callable, manifest: Path, tmp_path: Path) -> None:
    before = tmp_path / "out.predictions.jsonl"
    run(manifest, "--report", tmp_path / "new.html", "--no-noise", "--against", before)
    page = (tmp_path / "new.html").read_text()
    assert "On 5 clips that both answered, UAR is +0.0 points from the other run" in page
    for arguments in (
        ("--against", before),
        ("--report", "x.pdf"),
        ("--report", "x.html", "--against", manifest),
    ):
        done = run(manifest, *arguments)
        assert (done.code, done.out) == (2, "")
        assert done.err.endswith(("[option_invalid]\n", "[predictions_invalid]\n"))


@pytest.mark.parametrize("snr", [20.0, 0.0, -6.0])
def test_noise_has_the_power_that_it_should(snr: float) -> None:
    rng = np.random.default_rng(0)
    speech, hiss = voice_like(1.0), rng.standard_normal(16000).astype(np.float32)
    added = with_noise(speech, hiss, snr) - speech
    assert 10 * np.log10(np.mean(speech**2) / np.mean(added**2)) == pytest.approx(snr, abs=0.01)


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
