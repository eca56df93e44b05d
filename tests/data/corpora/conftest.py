"""Miniatures of published layouts: a mapping of file names to their text becomes a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from affetto.data.manifest import Corpus, read_manifest, write_manifest

Put = Callable[[Mapping[str, str | bytes]], Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Write files below a new folder, and return the folder."""

    def write(files: Mapping[str, str | bytes]) -> Path:
        folder = tmp_path / "corpus"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder

    return write


@pytest.fixture
def kept_by_a_manifest(tmp_path: Path) -> Callable[[Corpus], bool]:
    """Whether writing a corpus as a manifest and reading it gives the same clips again."""

    def kept(corpus: Corpus) -> bool:
        path = tmp_path / "elsewhere.csv"
        write_manifest(corpus.clips, path)
        return read_manifest(path) == list(corpus.clips)

    return kept
