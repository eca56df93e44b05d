"""The registry of readers: every name resolves, every wrong folder is refused the same way."""

from __future__ import annotations

from pathlib import Path

import pytest

from affetto.data.corpora import CORPORA, corpus_reader, read_corpus
from affetto.errors import DataError

PUBLISHED = sorted(set(CORPORA) - {"manifest"})


@pytest.mark.parametrize("name", CORPORA)
def test_every_name_resolves_to_a_reader_with_a_docstring(name: str) -> None:
    reader = corpus_reader(name)
    assert callable(reader)
    assert reader.__doc__


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_reader_states_origin_licence_layout_and_quirks(name: str) -> None:
    from importlib import import_module

    text = import_module(CORPORA[name].partition(":")[0]).__doc__ or ""
    assert all(f"{word}: " in text for word in ("Origin", "Licence", "Layout", "Quirks"))


def test_an_unknown_reader_is_told_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean 'ravdess'") as caught:
        read_corpus("ravdes", "nowhere")
    assert caught.value.code == "corpus_unknown"
    with pytest.raises(DataError, match="expected one of affectnet, ckplus"):
        read_corpus("zzz", "nowhere")


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("there", [True, False])
def test_a_wrong_folder_is_refused_with_what_was_looked_for(tmp_path: Path, name: str, there: bool) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    folder = tmp_path if there else tmp_path / "none"
    with pytest.raises(DataError, match=r"does not look like .*: expected ") as caught:
        read_corpus(name, folder)
    assert caught.value.code == "corpus_layout"
    assert str(folder) in str(caught.value)
    assert ("which is no folder" in str(caught.value)) is not there


def test_any_manifest_is_a_corpus(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("text,emotion\nhi,happy\n")
    corpus = read_corpus("manifest", tmp_path)
    assert (corpus.name, len(corpus.clips)) == (tmp_path.name, 1)
    with pytest.raises(DataError) as caught:
        read_corpus("manifest", tmp_path / "none")
    assert caught.value.code == "manifest_not_found"
