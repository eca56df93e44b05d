from __future__ import annotations

import io
import os
import sys
import threading
import types
import zipfile
from pathlib import Path

import pytest

from affetto.errors import MediaError
from affetto.media.source import Named, _archive, open_source, split_member


def read(source, max_bytes: int = 1000) -> tuple[bytes, str]:
    with open_source(source, max_bytes=max_bytes) as opened:
        data = opened.file.read()
        assert len(data) == opened.size
        opened.file.seek(1)
        assert opened.file.read(2) == data[1:3]
        return data, opened.name


def code_of(source, max_bytes: int = 1000) -> str:
    with pytest.raises(MediaError) as caught:
        read(source, max_bytes)
    assert "\n" not in str(caught.value)
    return caught.value.code


@pytest.fixture
def archive(tmp_path) -> Path:
    path = tmp_path / "all.ZIP"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("a/b.wav", b"hello")
        zipped.writestr("odd #1.wav", b"number")
        zipped.writestr("bomb", bytes(5_000_000))
    return path


def test_bytes_in_every_form():
    for source in (b"hello", bytearray(b"hello"), memoryview(b"hello")):
        assert read(source) == (b"hello", "<bytes>")


def test_paths(tmp_path):
    (tmp_path / "a").write_bytes(b"hello")
    assert read(tmp_path / "a") == read(str(tmp_path / "a")) == (b"hello", str(tmp_path / "a"))


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(b"hello")))
    assert read("-") == (b"hello", "<stdin>")


def test_a_pipe_is_held_in_memory(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(b"hello"))
    writer.start()
    assert read(tmp_path / "pipe")[0] == b"hello"
    writer.join()


def test_members(archive):
    assert read(f"{archive}#a/b.wav")[0] == b"hello"
    assert read(f"{archive}#odd #1.wav")[0] == b"number"
    assert not (archive.parent / "a").exists()  # nothing is extracted


def test_a_changed_archive_is_read_anew(archive):
    assert read(f"{archive}#a/b.wav")[0] == b"hello"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("a/b.wav", b"something else")
    assert read(f"{archive}#a/b.wav")[0] == b"something else"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_opens_an_archive_anew(archive):
    """Parent and fork would move one another's position in a file that they share."""
    read(f"{archive}#a/b.wav")
    opened = _archive.cache_info().misses
    fork = os.fork()
    if fork == 0:
        read(f"{archive}#a/b.wav")
        os._exit(_archive.cache_info().misses - opened)
    assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 1
    read(f"{archive}#a/b.wav")
    assert _archive.cache_info().misses == opened


def test_a_number_sign_in_a_name_is_not_a_member(tmp_path):
    path = tmp_path / "take.zip#2.wav"
    path.write_bytes(b"hello")
    assert split_member(str(path)) is None
    assert read(path)[0] == b"hello"
    assert split_member("take #2.wav") is None
    assert split_member("x.zip#y.zip#z") == ("x.zip", "y.zip#z")


def test_a_name_of_its_own_is_used_in_messages():
    assert read(Named(b"hello", "call.wav")) == (b"hello", "call.wav")
    assert read(Named(b"hello", "two\nlines\x1b[31m"))[1] == "two?lines?[31m"
    with pytest.raises(MediaError, match=r"^call\.wav: "):
        read(Named(bytes(2000), "call.wav"))


def test_what_is_not_there(tmp_path, archive):
    for source in (tmp_path / "no", "no\0way", f"{tmp_path}/no.zip#x", f"{archive}#x", f"{archive}/x"):
        assert code_of(source) == "media_not_found"


def test_addresses_are_not_fetched():
    with pytest.raises(MediaError, match="not fetched") as caught:
        read("https://example.org/a.wav")
    assert caught.value.code == "media_not_found"


def test_what_cannot_be_read(tmp_path, archive):
    assert code_of(tmp_path) == "media_unreadable"
    assert code_of("x" * 5000) == "media_unreadable"
    (tmp_path / "text.zip").write_bytes(b"this is no archive")
    assert code_of(f"{tmp_path}/text.zip#x") == "media_unreadable"
    damaged = bytearray(archive.read_bytes())
    damaged[damaged.index(b"a/b.wav") + 8] ^= 0xFF  # in the compressed bytes
    (tmp_path / "damaged.zip").write_bytes(bytes(damaged))
    assert code_of(f"{tmp_path}/damaged.zip#a/b.wav") == "media_unreadable"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_permissions(tmp_path):
    (tmp_path / "a").write_bytes(b"hello")
    (tmp_path / "a").chmod(0)
    assert code_of(tmp_path / "a") == "media_unreadable"


def test_more_than_may_be_held(tmp_path, archive, monkeypatch):
    assert code_of(bytes(1001)) == "media_too_large"
    assert code_of(f"{archive}#bomb") == "media_too_large"
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(bytes(1001))))
    assert code_of("-") == "media_too_large"
    (tmp_path / "large").write_bytes(bytes(1001))
    assert len(read(tmp_path / "large")[0]) == 1001  # a plain file is not held


def test_a_member_that_lies_about_its_size(archive):
    lying = archive.read_bytes().replace((5_000_000).to_bytes(4, "little"), (900).to_bytes(4, "little"))
    (archive.parent / "lying.zip").write_bytes(lying)
    assert code_of(f"{archive.parent}/lying.zip#bomb") in ("media_unreadable", "media_too_large")


def test_neither_path_nor_bytes():
    with pytest.raises(TypeError, match="list"):
        read([1, 2])
