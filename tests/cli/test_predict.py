"""`affetto predict` as people and scripts use it."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from affetto.bundle import Bundle
from affetto.cli import app
from affetto.cli.item import is_picture
from affetto.cli.predict import gather
from affetto.errors import AffettoError
from affetto.labels import EMOTIONS
from affetto.records import Word
from sounds import voice_like

RATE = 16000
Run = Callable[..., SimpleNamespace]
Wav = Callable[..., Path]


NOTHING = dict.fromkeys(("--text", "--image", "--words", "--transcribe", "--timeline"))


def hum(seconds: float, offset: float) -> np.ndarray:
    """A voice upon an offset: the plain bundle's anger is 20 x the offset."""
    voice = voice_like(seconds)
    return (voice - voice.mean() + offset).astype(np.float32)


@pytest.fixture
def run(plain_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> Run:
    """`affetto predict ... --bundle PLAIN` in this process."""

    def call(*arguments: object) -> SimpleNamespace:
        with pytest.raises(SystemExit) as done:
            app.main(["predict", *map(str, arguments), "--bundle", str(plain_bundle.path)])
        out, err = capsys.readouterr()
        return SimpleNamespace(code=int(done.value.code or 0), out=out, err=err)

    return call


@pytest.fixture
def folder(wav: Wav, tmp_path: Path, face: bytes) -> Path:
    """Two recordings, a picture, a broken file, and what is not media."""
    wav(hum(0.5, 0.1), "in/a.wav")
    wav(hum(0.5, -0.1), "in/deep/b.wav")
    (tmp_path / "in" / "c.png").write_bytes(face)
    (tmp_path / "in" / "d.wav").write_text("I am not a recording")
    (tmp_path / "in" / "notes.txt").write_text("nothing to see")
    (tmp_path / "in" / ".hidden.wav").write_text("nor here")
    return tmp_path / "in"


# --- one item ---


def test_a_sentence(run: Run) -> None:
    done = run("--text", "happy happy")
    assert (done.code, done.err) == (0, "")
    assert "happiness  90%" in done.out
    assert "without speech, face" in done.out
    assert "\x1b" not in done.out


def test_json_is_the_answer(run: Run) -> None:
    done = run("--text", "gloomy", "--json", "--labels", "happy,Sad")
    answer = json.loads(done.out)
    assert answer["emotion"] == "sadness"
    assert set(answer["probabilities"]) == {"happiness", "sadness"}
    assert answer["missing"] == ["speech", "vision"]
    assert done.err == ""


def test_all_three_through_the_worker(run: Run, wav: Wav, tmp_path: Path, face: bytes) -> None:
    picture = tmp_path / "face.jpg"  # a PNG: content decides, not the name
    picture.write_bytes(face)
    recording = wav(hum(0.5, 0.1))
    answer = json.loads(run(recording, "--text", "furious", "--image", picture, "--json").out)
    assert answer["missing"] == []
    assert answer["emotion"] == "anger"
    assert answer["file"] == str(recording)
    assert answer["duration"] == 0.5


def test_a_picture_alone(run: Run, tmp_path: Path, face: bytes) -> None:
    picture = tmp_path / "face"
    picture.write_bytes(face)
    assert json.loads(run(picture, "--json").out)["missing"] == ["speech", "text"]


@pytest.mark.parametrize("kind", ["sound", "picture"])
def test_standard_input(run: Run, wav: Wav, face: bytes, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    data = wav(hum(0.5, 0.1)).read_bytes() if kind == "sound" else face
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    answer = json.loads(run("-", "--text", "hm", "--json").out)
    assert answer["file"] == "stdin"
    assert answer["missing"] == (["vision"] if kind == "sound" else ["speech"])


def test_language(run: Run) -> None:
    done = run("--text", "happy", "--language", "de")
    assert done.code == 0
    assert "unsure" in done.out
    assert "language" in done.out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), "nothing_to_predict"),
        (("gone.wav",), "media_not_found"),
        (("gone*.wav",), "nothing_to_predict"),
        (("--text", " "), "text_empty"),
        (("--text", "hm", "--labels", "happy,bored"), "label_unknown"),
        (("--text", "hm", "--labels", "happy"), "option_invalid"),
        (("--text", "hm", "--precision", "fp7"), "option_invalid"),
        (("--text", "hm", "-o", "out.xml"), "option_invalid"),
        (("--text", "hm", "-o", "no/such/folder/out.csv"), "output_unwritable"),
        (("a.wav", "b.wav", "--text", "hm"), "option_invalid"),
        (("a.wav", "-"), "option_invalid"),
        (("face.png", "--image", "other.png"), "option_invalid"),
    ],
)
def test_errors_are_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert done.err.endswith(f"[{code}]\n")
    assert done.err.count("\n") == 1


def test_a_bundle_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app.main(["predict", "--text", "hm", "--bundle", "nowhere"])
    assert capsys.readouterr().err.endswith("[bundle_not_found]\n")


# --- several items ---


def test_a_folder_with_one_bad_file(run: Run, folder: Path) -> None:
    done = run(folder)
    assert done.code == 3
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [Path(row["file"]).name for row in rows] == ["a.wav", "c.png", "d.wav", "b.wav"]
    by_name = {Path(row["file"]).name: row for row in rows}
    assert by_name["a.wav"]["emotion"] == "anger"
    assert by_name["b.wav"]["emotion"] == "happiness"
    assert by_name["c.png"]["missing"] == "speech text"
    assert by_name["d.wav"]["emotion"] == ""
    assert "[audio_unknown_format]" in by_name["d.wav"]["error"]
    assert sum(float(by_name["a.wav"][name]) for name in EMOTIONS) == pytest.approx(1.0, abs=1e-3)
    assert "4 items" in done.err
    assert "failed 1" in done.err
    assert done.err.count("d.wav") == 1
    assert "\x1b" not in done.out + done.err


def test_json_lines(run: Run, folder: Path) -> None:
    done = run(folder / "a.wav", folder / "d.wav", "--json")
    good, bad = map(json.loads, done.out.splitlines())
    assert (done.code, good["emotion"]) == (3, "anger")
    assert bad["error"]["code"] == "audio_unknown_format"
    assert bad["file"] == str(folder / "d.wav")


def test_exit_code_when_none_is_answered(run: Run, folder: Path) -> None:
    assert run(folder / "d.wav", folder / "gone.wav").code == 2


def test_exit_code_when_all_are_answered(run: Run, folder: Path) -> None:
    assert run(f"{folder}/*.png").code == 0


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl"])
def test_rows_into_a_file(run: Run, folder: Path, tmp_path: Path, name: str) -> None:
    done = run(f"{folder}/**/*.wav", "-o", tmp_path / name)
    assert done.out == ""
    lines = (tmp_path / name).read_text().splitlines()
    assert len(lines) == 3 + (name == "out.csv")
    done = run("--text", "happy", "-o", tmp_path / name)
    assert "happiness" in done.out
    assert "happiness" in (tmp_path / name).read_text()


def test_a_manifest(run: Run, folder: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "clips.csv"
    manifest.write_text("id,path,text\n1,in/a.wav,\n2,,gloomy\n3,in/deep/b.wav,gloomy\n")
    rows = list(csv.DictReader(io.StringIO(run(manifest).out)))
    assert [row["emotion"] for row in rows] == ["anger", "sadness", "sadness"]


def test_a_folder_without_media(run: Run, tmp_path: Path) -> None:
    assert run(tmp_path).err.endswith("[nothing_to_predict]\n")


def test_for_people_a_table(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the pipe for a terminal
    monkeypatch.setenv("COLUMNS", "60")
    done = run(folder / "a.wav", folder / "deep")
    assert "anger" in done.out
    assert "file,emotion" not in done.out
    assert "\x1b[" in done.out


# --- words and timelines ---

SRT = """1
00:00:00,200 --> 00:00:01,000
happy happy

2
00:00:01,200 --> nonsense
lost

3
00:00:02,000 --> 00:00:02,500
gloomy
"""


def test_words_with_times_are_evidence_in_their_place(run: Run, wav: Wav, tmp_path: Path) -> None:
    subtitles = tmp_path / "call.srt"
    subtitles.write_text(SRT)
    call = wav(hum(3.0, 0.0), "call.wav")
    done = run(call, "--words", subtitles, "--json")
    answer = json.loads(done.out)
    assert [word["text"] for word in answer["words"]] == ["happy", "happy", "gloomy"]
    assert answer["segments"][0]["emotion"] == "happiness"
    assert answer["segments"][-1]["emotion"] == "sadness"
    assert "call.srt: line 6: " in done.err  # the bad line is told, the others count


def test_every_form_of_a_timeline(run: Run, wav: Wav, tmp_path: Path) -> None:
    call = wav(
        np.concatenate([hum(3.0, 0.1), np.zeros(2 * RATE), hum(3.0, -0.1)]).astype(np.float32), "call.wav"
    )
    names = [f"out.{suffix}" for suffix in ("html", "csv", "srt", "vtt", "json")]
    options = [part for name in names for part in ("--timeline", tmp_path / name)]
    done = run(call, "--text", "hm hm hm hm", *options)
    assert done.code == 0
    assert "nobody speaks" in done.out
    written = {name: (tmp_path / name).read_text(encoding="utf-8") for name in names}
    assert len(written["out.csv"].splitlines()) == 1 + 16
    assert "[anger] hm" in written["out.srt"]
    assert written["out.vtt"].startswith("WEBVTT")
    assert len(json.loads(written["out.json"])["segments"]) == 16
    assert "<audio" in written["out.html"]


def test_options_of_a_timeline_that_cannot_be(run: Run, wav: Wav, tmp_path: Path) -> None:
    call = wav(hum(1.0, 0.1), "call.wav")
    words = tmp_path / "w.srt"
    words.write_text(SRT)
    for arguments, code in (
        ((call, "--timeline", tmp_path / "out.pdf"), "option_invalid"),
        ((call, "--timeline", tmp_path / "no" / "out.csv"), "output_unwritable"),
        ((call, "--words", words, "--transcribe", "pocketsphinx"), "option_invalid"),
        ((call, "--words", tmp_path / "gone.srt"), "words_not_found"),
        ((call, "--transcribe", "pocketsphynx"), "option_invalid"),
        (("--text", "hm", "--transcribe", "pocketsphinx"), "option_invalid"),
        ((call, call, "--words", words), "option_invalid"),
    ):
        done = run(*arguments)
        assert done.code == 2
        assert done.err.strip().endswith(f"[{code}]")


def test_words_of_a_recogniser(run: Run, wav: Wav, monkeypatch: pytest.MonkeyPatch) -> None:
    class Parrot:
        def transcribe(self, waveform: np.ndarray, language: str | None = None) -> tuple[Word, ...]:
            return (Word("gloomy", 0.5, len(waveform) / RATE - 0.5),)

    monkeypatch.setattr("affetto.align.transcribe.load_recogniser", {"parrot": Parrot()}.__getitem__)
    answer = json.loads(run(wav(hum(2.0, 0.1), "call.wav"), "--transcribe", "parrot", "--json").out)
    assert answer["words"] == [{"text": "gloomy", "start": 0.5, "end": 1.5, "estimated": False}]
    assert answer["emotion"] == "sadness"


# --- arguments ---


def test_gathering_is_lazy_and_ordered(folder: Path) -> None:
    items = gather([str(folder / "deep"), str(folder / "c.png")], NOTHING, "de")
    assert items.several
    assert [item.clip.language for item in items.all] == ["de", "de"]
    assert [item.modalities() for item in items.all] == [("speech",), ("vision",)]
    one = gather([str(folder / "a.wav")], NOTHING | {"--text": "hi", "--image": str(folder / "c.png")}, None)
    assert not one.several
    assert one.all[0].modalities() == ("speech", "text", "vision")
    with pytest.raises(AffettoError):
        gather([], NOTHING, None)


def test_pictures_by_their_first_bytes(face: bytes) -> None:
    assert is_picture(face[:16])
    assert is_picture(b"\xff\xd8\xff\xe0")
    assert is_picture(b"RIFF\x00\x00\x00\x00WEBPVP8 ")
    assert not is_picture(b"RIFF\x00\x00\x00\x00WAVEfmt ")
    assert not is_picture(b"")


# --- the whole process ---

MEASURE = """
import resource, subprocess, sys, time
began = time.perf_counter()
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.perf_counter() - began, usage.ru_maxrss / 1024, done.returncode)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_cold_start(tiny_bundle: Bundle, wav: Wav, voice: Callable[..., np.ndarray]) -> None:
    """A clip of 3 s within 250 MB; how long it takes on an idle machine is for a benchmark to say."""
    command = [
        sys.executable,
        "-m",
        "affetto",
        "predict",
        str(wav(voice(3.0))),
        "--bundle",
        str(tiny_bundle.path),
    ]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], capture_output=True, text=True, check=True
    )
    seconds, megabytes, code = done.stdout.split()
    assert code == "0"
    assert float(megabytes) < 250
    assert float(seconds) < 15


def test_the_command_never_imports_torch(plain_bundle: Bundle, wav: Wav) -> None:
    code = (
        "import sys; from affetto.cli import app\n"
        "try: app.main(['predict', sys.argv[1], '--json', '--bundle', sys.argv[2]])\n"
        "except SystemExit as done:\n"
        "    print(done.code, sorted({'torch', 'onnx', 'soundfile', 'PIL'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(wav(hum(0.5, 0.1))), str(plain_bundle.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_interruption_keeps_the_rows_so_far(plain_bundle: Bundle, wav: Wav, tmp_path: Path) -> None:
    import signal

    first = wav(hum(0.3, 0.1), "many/000.wav")
    for i in range(1, 400):
        os.link(first, first.with_name(f"{i:03}.wav"))
    out = tmp_path / "rows.csv"
    command = [sys.executable, "-m", "affetto", "predict", str(tmp_path / "many"), "-o", str(out)]
    process = subprocess.Popen([*command, "--bundle", str(plain_bundle.path)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while (not out.exists() or out.read_text().count("\n") < 3) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err
    rows = list(csv.DictReader(out.open()))
    assert 2 <= len(rows) < 400
    assert all(row["emotion"] == "anger" for row in rows)
