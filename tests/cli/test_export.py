"""`affetto export`: which bundle, which precision, and what is missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from affetto.bundle import Bundle, open_bundle
from affetto.cli import app
from affetto.cli.export import bundle_of, read_items
from affetto.learn.export.folder import write_bundle_folder
from affetto.records import Clip


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., SimpleNamespace]:
    def call(*arguments: object) -> SimpleNamespace:
        with pytest.raises(SystemExit) as done:
            app.main(["export", *map(str, arguments)])
        out, err = capsys.readouterr()
        return SimpleNamespace(code=int(done.value.code or 0), out=out, err=err)

    return call


def test_a_run_gives_its_bundle_in_one_precision(run: Callable, plain_bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(plain_bundle.path, tmp_path / "run" / "bundle")
    done = run(tmp_path / "run", "-o", tmp_path / "small", "--precision", "int8")
    assert (done.code, done.err) == (0, "")
    assert "precisions: int8" in done.out
    assert open_bundle(tmp_path / "small").precisions() == ("int8",)
    assert bundle_of(str(plain_bundle.path)) == str(plain_bundle.path)


def test_errors_are_one_line(
    run: Callable, plain_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    int8 = {name: plain_bundle.read(name) for name in plain_bundle.info.files if ".int8." not in name}
    only_fp32 = write_bundle_folder(tmp_path / "fp32", plain_bundle.info, int8).path
    cases = {
        ("nowhere",): "bundle_not_found",
        (plain_bundle.path, "--precision", "fp8"): "option_invalid",
        (only_fp32, "--precision", "int8"): "option_invalid",
        (plain_bundle.path, "-o", tmp_path): "run_exists",
    }
    for arguments, code in cases.items():
        done = run(*arguments)
        assert (done.code, done.out) == (2, ""), arguments
        assert done.err.endswith(f"[{code}]\n")
        assert done.err.count("\n") == 1
    monkeypatch.setattr("affetto.cli.export.find_spec", lambda name: None)
    done = run(plain_bundle.path)
    assert done.err.endswith("[extra_missing]\n")
    assert 'pip install "affetto[train]"' in done.err


def test_examples_are_read_as_the_parts_take_them(
    plain_bundle: Bundle,
    wav: Callable[..., Path],
    voice: Callable[..., np.ndarray],
    face: bytes,
    tmp_path: Path,
) -> None:
    picture = tmp_path / "face.png"
    picture.write_bytes(face)
    recording = str(wav(voice(3.0)))
    clips = [
        Clip("a", speech=recording, text="happy", vision=str(picture)),
        Clip("b", speech=recording, start=1.0, end=2.5, text="happy", scripted=True),
    ]
    first, second = read_items(plain_bundle, clips)
    assert first["speech"].shape == (2 * 16000,)  # the window of the bundle
    assert first["text"].tolist() == [3]
    assert first["vision"].shape == (1, 3, 32, 32)
    assert set(second) == {"speech"}
    assert second["speech"].shape == (24000,)
