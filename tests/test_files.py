"""A file is there whole, or as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from affetto.errors import DataError
from affetto.files import write_whole


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    for content in (b"old", b"new"):
        write_whole(tmp_path / "a", content)
        assert (tmp_path / "a").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_what_goes_wrong_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    write_whole(tmp_path / "a", b"old")
    with monkeypatch.context() as patched:
        patched.setattr(os, step, full)
        with pytest.raises(DataError, match="No space left on device") as caught:
            write_whole(tmp_path / "a", b"new")
    assert caught.value.code == "output_unwritable"
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


@pytest.mark.parametrize("place", ["missing/a", "file/a", "folder"])
def test_a_place_that_takes_no_file_is_told(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=place) as caught:
        write_whole(tmp_path / place, b"new")
    assert caught.value.code == "output_unwritable"
