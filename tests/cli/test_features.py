"""`affetto features`: the file that it writes, the line that it says, and what it refuses."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from affetto.cli.app import main
from affetto.features import prosody, spectral
from affetto.media import decode_audio, worker


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    t = np.arange(12000) / 16000
    samples = 0.3 * np.sin(2 * np.pi * 150 * t) + 0.1 * np.sin(2 * np.pi * 300 * t)
    path = tmp_path_factory.mktemp("media") / "tone.wav"
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    return path


class InThisProcess:
    """Stands for the decoding worker, whose start costs half a second; one test below uses the real one."""

    decode_audio = staticmethod(decode_audio)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture(autouse=True)
def _decode_here(request, monkeypatch):
    if "real_worker" not in request.fixturenames:
        monkeypatch.setattr(worker, "DecodingWorker", InThisProcess)


@pytest.fixture
def real_worker():
    """Asked for by a test that decodes as users do."""


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["features", *map(str, arguments)])
    return stop.value.code


EXPECTED = {
    ("logmel",): lambda w: spectral.log_mel(w),
    ("logmel", "--n-mels", "80"): lambda w: spectral.log_mel(w, n_mels=80),
    ("mfcc",): lambda w: spectral.mfcc(w),
    ("mfcc", "--n-mfcc", "40", "--n-mels", "128", "--no-deltas"): lambda w: spectral.mfcc(
        w, n_mfcc=40, n_mels=128, deltas=False
    ),
    ("fbank",): lambda w: spectral.fbank(w),
    ("pitch",): lambda w: prosody.pitch(w)[0],
}


@pytest.mark.parametrize("options", EXPECTED, ids=" ".join)
def test_the_file_holds_the_functions_answer(recording, tmp_path, capsys, options):
    output = tmp_path / "x.npz"
    assert run(recording, "--kind", *options, "-o", output) == 0
    with np.load(output, allow_pickle=False) as stored:
        values, times = stored["values"], stored["times"]
        settings = json.loads(str(stored["settings"]))
        assert ("probability" in stored) == (options[0] == "pitch")
    np.testing.assert_array_equal(values, EXPECTED[options](decode_audio(recording)))
    assert len(times) == len(values)
    assert times[0] == pytest.approx(0.0125)
    assert settings["kind"] == options[0]
    assert (settings["rate"], settings["window"], settings["hop"]) == (16000, 400, 160)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert str(output) in said


def test_settings_name_what_was_used(recording, tmp_path):
    for kind, expected in (
        ("fbank", {"n_mels": 80}),
        ("mfcc", {"n_mels": 64, "n_mfcc": 13, "deltas": True}),
        ("pitch", {}),
    ):
        assert run(recording, "--kind", kind, "-o", tmp_path / "x.npz") == 0
        with np.load(tmp_path / "x.npz") as stored:
            settings = json.loads(str(stored["settings"]))
        assert settings == {"kind": kind, "rate": 16000, "window": 400, "hop": 160, **expected}


def test_without_output_one_line_says_what_was_found(recording, capsys):
    assert run(recording) == 0
    said = capsys.readouterr().out
    assert said.startswith("logmel [73 64], -")
    assert said.count("\n") == 1
    assert run(recording, "--kind", "pitch") == 0
    assert capsys.readouterr().out == "pitch [73], 100 % voiced, 150 to 150 Hz\n"


def test_nothing_voiced_is_said(tmp_path, capsys):
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 8000)
    soundfile.write(tmp_path / "noise.wav", noise, 16000)
    assert run(tmp_path / "noise.wav", "--kind", "pitch") == 0
    assert capsys.readouterr().out == "pitch [48], nothing voiced\n"


def test_a_recording_comes_through_stdin(recording, monkeypatch, capsys, real_worker):
    class Stdin:
        buffer = io.BytesIO(recording.read_bytes())

    monkeypatch.setattr(sys, "stdin", Stdin)
    assert run("-", "--kind", "mfcc") == 0
    assert capsys.readouterr().out.startswith("mfcc [73 39]")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["{missing}"], "media_not_found"),
        (["{here}", "--kind", "chroma"], "option_invalid"),
        (["{here}", "--n-mels", "0"], "option_invalid"),
        (["{here}", "--n-mels", "129"], "option_invalid"),
        (["{here}", "--kind", "mfcc", "--n-mfcc", "65"], "option_invalid"),
        (["{here}", "-o", "x.csv"], "option_invalid"),
        (["{here}", "-o", "{missing}/x.npz"], "output_unwritable"),
        ([], "option_invalid"),
    ],
)
def test_what_cannot_be_done_is_one_line(recording, tmp_path, capsys, arguments, code):
    places = {"here": recording, "missing": tmp_path / "missing"}
    assert run(*(argument.format(**places) for argument in arguments)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert f"[{code}]" in said.err


def test_a_failed_write_leaves_the_old_file_and_no_other(recording, tmp_path, monkeypatch):
    output = tmp_path / "x.npz"
    output.write_bytes(b"old")

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    assert run(recording, "-o", output) == 2
    assert output.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.npz"]


def test_help_loads_neither_numpy_nor_torch():
    code = (
        "import sys\n"
        "from affetto.cli.app import main\n"
        "try:\n    main(['features', '--help'])\n"
        "except SystemExit:\n    print(sorted({'numpy', 'torch', 'soundfile'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.endswith("[]\n")
    assert "--n-mfcc" in shown.stdout
