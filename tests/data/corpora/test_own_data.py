"""What people have of their own: a folder per class, and a table with columns of any name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from affetto.data.corpora import read_corpus
from affetto.data.manifest import Corpus
from affetto.errors import ConfigError, DataError

FOLDERS = dict.fromkeys(
    (
        "Happy/ann_01.wav",
        "Happy/deep/bob_02.WAV",
        "anger/ann_03.jpg",
        "Boredom/ann_04.wav",
        "misc/ann_05.wav",
        "Happy/notes.txt",
        "Happy/._ann_01.wav",
    ),
    b"",
)


def test_a_folder_per_class(put: Callable[..., Path], kept_by_a_manifest: Callable[[Corpus], bool]) -> None:
    folder = put(FOLDERS)
    corpus = read_corpus("folders", folder)
    found = [(clip.id, clip.labels["emotion"], clip.modalities(), clip.speaker) for clip in corpus.clips]
    assert found == [
        ("Happy/ann_01.wav", "happiness", ("speech",), None),
        ("Happy/deep/bob_02.WAV", "happiness", ("speech",), None),
        ("anger/ann_03.jpg", "anger", ("vision",), None),
    ]
    assert corpus.name == "corpus"
    assert corpus.dropped == {"Boredom": 1}
    (problem,) = corpus.problems
    assert problem.startswith("left out misc/: unknown emotion 'misc'")
    assert kept_by_a_manifest(corpus)


def test_a_folder_per_class_in_splits_with_speakers(put: Callable[..., Path]) -> None:
    files = {
        f"{split}/sad/{who}_1.wav": b"" for split, who in (("train", "ann"), ("val", "bob"), ("test", "x-"))
    }
    corpus = read_corpus("folders", put(files), speaker="^([a-z]+)_")
    assert [(clip.split, clip.speaker) for clip in corpus.clips] == [
        ("test", None),
        ("train", "ann"),
        ("validation", "bob"),
    ]
    assert corpus.problems == ("1 clips have no speaker: their names do not match '^([a-z]+)_'",)


@pytest.mark.parametrize("speaker", ["([a-z", "^[a-z]+_", "(a)(b)"])
def test_a_speaker_that_is_no_expression_with_one_group(put: Callable[..., Path], speaker: str) -> None:
    with pytest.raises(ConfigError, match="speaker") as caught:
        read_corpus("folders", put(FOLDERS), speaker=speaker)
    assert caught.value.code == "option_invalid"


# --- tables ----------------------------------------------------------------------------------------------

SHEET = (
    "File;Who;Feeling;text;Note\n"
    "a.wav;ann;angry;own words;loud\n"
    "b.wav;bob;hapy;;\n"
    "c.wav;bob;bored;;\n"
    "d.wav;bob;boredom;;\n"
    "e.wav;bob;joy|surprised;;\n"
)
COLUMNS = {"path": "File", "speaker": "Who", "emotion": "Feeling"}


def test_a_table_with_its_columns_named(
    put: Callable[..., Path], kept_by_a_manifest: Callable[[Corpus], bool]
) -> None:
    folder = put({"sheet.csv": SHEET})
    corpus = read_corpus("table", folder / "sheet.csv", root=str(folder / "clips"), **COLUMNS)
    first, second = corpus.clips
    assert first.speech == str(folder / "clips" / "a.wav")
    assert (first.speaker, first.labels["emotion"], first.text) == ("ann", "anger", "own words")
    assert (first.attributes, first.corpus) == ({"Note": "loud"}, "sheet")
    assert second.labels["emotion"] == ("happiness", "surprise")
    assert corpus.dropped == {"boredom": 1}
    assert [problem.partition(";")[0] for problem in corpus.problems] == [
        "left out line 3: unknown emotion 'hapy'",
        "left out line 4: unknown emotion 'bored'",
    ]
    assert kept_by_a_manifest(corpus)


def test_a_column_named_takes_the_place_of_one_so_called(put: Callable[..., Path]) -> None:
    table = put({"t.csv": "text,utterance,emotion\nid7,Oh no!,fear\n"}) / "t.csv"
    (clip,) = read_corpus("table", table, text="utterance").clips
    assert (clip.text, clip.attributes) == ("Oh no!", {})


def test_jsonl_and_parquet_too(put: Callable[..., Path], tmp_path: Path) -> None:
    rows = [{"Utterance": "Hi!", "Label": "joy"}, {"Utterance": "Ugh.", "Label": "disgust"}]
    tables = [put({"t.jsonl": "".join(json.dumps(row) + "\n" for row in rows)}) / "t.jsonl"]
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    tables.append(tmp_path / "t.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(rows), tables[1])
    for table in tables:
        corpus = read_corpus("table", table, text="Utterance", emotion="Label")
        assert [(clip.text, clip.labels["emotion"]) for clip in corpus.clips] == [
            ("Hi!", "happiness"),
            ("Ugh.", "disgust"),
        ]


def test_what_is_named_wrongly_is_refused(put: Callable[..., Path]) -> None:
    table = put({"sheet.csv": SHEET}) / "sheet.csv"
    with pytest.raises(
        DataError, match="has no column 'Mood' for emotion: expected one of File, Who"
    ) as caught:
        read_corpus("table", table, path="File", emotion="Mood")
    assert caught.value.code == "manifest_column_missing"
    with pytest.raises(ConfigError, match="'File' is named for two things"):
        read_corpus("table", table, path="File", id="File")
    with pytest.raises(DataError, match="2 rows cannot be used") as caught:
        read_corpus("table", put({"bad.csv": "text,emotion\na,hapy\nb,hapy\n"}) / "bad.csv")
    assert caught.value.code == "label_unknown"


def test_an_option_that_a_reader_does_not_have(put: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match="iemocap has no option 'sessions': expected labels") as caught:
        read_corpus("iemocap", put({}), sessions="1")
    assert caught.value.code == "option_invalid"
    with pytest.raises(ConfigError, match="tess has no option 'labels': expected none"):
        read_corpus("tess", put({}), labels="raw")
