from __future__ import annotations

import subprocess
import sys

import pytest

import affetto.media


def loaded_by(statement: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter has loaded after `statement`."""
    script = f"{statement}; import sys; print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    return {"numpy", "soundfile", "soxr", "PIL", "av", "torch"} & set(output.split())


def test_the_package_and_its_worker_load_no_codec():
    assert loaded_by("import affetto.media") == set()
    assert loaded_by("from affetto.media import DecodingWorker, AudioLimits") == {"numpy"}


def test_sound_loads_no_pictures_and_no_video():
    assert loaded_by("from affetto.media import decode_audio") == {"numpy", "soundfile", "soxr"}
    assert loaded_by("from affetto.media import decode_image") == {"numpy", "PIL"}


def test_every_name_is_there():
    for name in affetto.media.__all__:
        assert getattr(affetto.media, name) is not None
    with pytest.raises(AttributeError, match="decode_smell"):
        _ = affetto.media.decode_smell
