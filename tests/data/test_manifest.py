"""Manifests: every column, every fault with its line, and a round trip in every format."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affetto.data.manifest import read_manifest, read_manifest_corpus, scan_manifest, write_manifest
from affetto.errors import AffettoError, ConfigError, DataError
from affetto.labels import EMOTIONS, XED
from affetto.records import Clip, Word

FORMATS = [".csv", ".tsv", ".jsonl", ".parquet"]


def write(folder: Path, text: str, name: str = "manifest.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def only(folder: Path, header: str, row: str) -> Clip:
    (clip,) = read_manifest(write(folder, f"{header}\n{row}\n"))
    return clip


# --- columns ---------------------------------------------------------------------------------------------


def test_a_full_row(tmp_path: Path) -> None:
    header = (
        "id,speech,text,vision,speaker,emotion,language,gender,split,start,end,group,scripted,corpus,room"
    )
    row = "a1,audio/a1.wav,No!,faces.zip#x/a1.png,7,angry,en-US,F,dev,0.5,2,s1,yes,mine,kitchen"
    assert only(tmp_path, header, row) == Clip(
        id="a1",
        speech=str(tmp_path / "audio" / "a1.wav"),
        text="No!",
        vision=str(tmp_path / "faces.zip") + "#x/a1.png",
        start=0.5,
        end=2.0,
        speaker="7",
        group="s1",
        gender="female",
        language="en",
        scripted=True,
        labels={"emotion": "anger"},
        split="validation",
        corpus="mine",
        attributes={"room": "kitchen"},
    )


@pytest.mark.parametrize(
    ("path", "modality", "found"),
    [
        ("a.wav", "speech", "a.wav"),
        ("sub\\a.flac" if os.sep == "/" else "sub/a.flac", "speech", "sub/a.flac"),
        ("take#2.wav", "speech", "take#2.wav"),
        ("a.PNG", "vision", "a.PNG"),
        ("a.jpeg", "vision", "a.jpeg"),
        ("a.webp", "vision", "a.webp"),
        ("z.zip#deep/a.jpg", "vision", "z.zip#deep/a.jpg"),
        ("z.zip#a.wav", "speech", "z.zip#a.wav"),
    ],
)
def test_path_goes_where_its_suffix_says(tmp_path: Path, path: str, modality: str, found: str) -> None:
    clip = only(tmp_path, "path", path)
    assert getattr(clip, modality) == f"{tmp_path}{os.sep}{found}"
    assert clip.modalities() == (modality,)
    assert clip.id == path


def test_precomputed_features_are_an_attribute_and_no_medium(tmp_path: Path) -> None:
    clip = only(tmp_path, "id,path", "a,utterances.npz#12")
    assert clip.attributes == {"features": str(tmp_path / "utterances.npz") + "#12"}
    assert clip.modalities() == ()


def test_names_of_columns_are_forgiving(tmp_path: Path) -> None:
    clip = only(tmp_path, " Audio ,IMAGE,Speaker,Label:Mood,", "a.wav,a.png,1,good,ignored")
    assert (clip.speech, clip.vision) == (str(tmp_path / "a.wav"), str(tmp_path / "a.png"))
    assert (clip.speaker, dict(clip.labels), dict(clip.attributes)) == ("1", {"Mood": "good"}, {})


@pytest.mark.parametrize(
    ("cell", "emotion"),
    [
        ("Happy", "happiness"),
        ("fearful", "fear"),
        ("annoyance", "anger"),
        ("joy|sad", ("happiness", "sadness")),
        ('"joy, sad"', ("happiness", "sadness")),
        ("joy|happy", ("happiness",)),
        ("joy|", ("happiness",)),
        ("joy|trust", ("happiness",)),
    ],
)
def test_emotions_in_many_spellings(tmp_path: Path, cell: str, emotion: object) -> None:
    assert only(tmp_path, "text,emotion", f"hm,{cell}").labels == {"emotion": emotion}


def test_votes_beat_the_emotion_column(tmp_path: Path) -> None:
    clip = only(tmp_path, "path,emotion,votes_happy,votes_sad,votes_contempt", "a.png,contempt,6,2,2")
    assert clip.labels["emotion"] == {**dict.fromkeys(EMOTIONS, 0.0), "happiness": 0.75, "sadness": 0.25}
    assert clip.attributes == {"majority": "happiness", "votes": "8"}  # two of ten have no place


def test_without_votes_the_emotion_column_speaks(tmp_path: Path) -> None:
    clip = only(tmp_path, "path,emotion,votes_happy,votes_sad", "a.png,fear,0,")
    assert dict(clip.labels) == {"emotion": "fear"}
    assert dict(clip.attributes) == {}


def test_other_tasks_are_columns_with_a_prefix(tmp_path: Path) -> None:
    header = "text,label:sentiment,label:topics,value:valence,votes:irony:yes,votes:irony:no,sentiment"
    clip = only(tmp_path, header, "hm,positive,food|travel,-0.5,3,1,kept")
    assert dict(clip.labels) == {
        "sentiment": "positive",
        "topics": ("food", "travel"),
        "valence": -0.5,
        "irony": {"yes": 3.0, "no": 1.0},
    }
    assert dict(clip.attributes) == {"sentiment": "kept"}


def test_jsonl_takes_lists_objects_and_numbers(tmp_path: Path) -> None:
    row = {
        "path": "a.wav",
        "speaker": 15,
        "emotion": {"happy": 3, "sad": 1},
        "label:topics": ["food"],
        "label:digit": 7,
        "start": 1,
        "words": [{"text": "no", "start": 1.0, "end": 1.5}],
        "extra": {"nested": [1, None]},
        "absent": None,
    }
    (clip,) = read_manifest(write(tmp_path, json.dumps(row), "m.jsonl"))
    assert clip.speaker == "15"
    assert clip.labels["emotion"] == {**dict.fromkeys(EMOTIONS, 0.0), "happiness": 0.75, "sadness": 0.25}
    assert (clip.labels["topics"], clip.labels["digit"]) == (("food",), "7")
    assert clip.words == (Word("no", 1.0, 1.5),)
    assert dict(clip.attributes) == {"extra": '{"nested": [1, null]}', "votes": "4", "majority": "happiness"}
    assert clip.id == "a.wav@1"


def test_a_gender_that_is_neither_is_kept_as_an_attribute(tmp_path: Path) -> None:
    clip = only(tmp_path, "path,gender", "a.wav,nonbinary")
    assert (clip.gender, dict(clip.attributes)) == (None, {"gender": "nonbinary"})


def test_scripted_text_is_no_evidence(tmp_path: Path) -> None:
    clip = only(tmp_path, "path,text,scripted", "a.wav,Kids are talking,1")
    assert clip.modalities() == ("speech",)


def test_the_own_label_map_comes_first(tmp_path: Path) -> None:
    path = write(tmp_path, "text,emotion\nhm,trust\n")
    (clip,) = read_manifest(path, label_map={**XED, "trust": "happiness"})
    assert clip.labels["emotion"] == "happiness"


# --- files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("\ufefftext,id\nhi,1\n", ["hi"]),
        ("text;id\nhi, you;1\n", ["hi, you"]),
        ("text\tid\r\nhi, you\t1\r\n", ["hi, you"]),
        ('id,text\n1,"a ""quoted""\nbreak"\n\n2,plain', ['a "quoted"\nbreak', "plain"]),
        ("id,text\n1,half\u2028way\n", ["half\u2028way"]),
    ],
)
def test_csv_as_spreadsheets_write_it(tmp_path: Path, text: str, texts: list[str]) -> None:
    assert [clip.text for clip in read_manifest(write(tmp_path, text))] == texts


def test_labels_without_a_place_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = "text,emotion\na,boredom\nb,Contempt\nc,boredom\nd,trust|anticipation\ne,happy\nf,\n"
    manifest = scan_manifest(write(tmp_path, rows))
    assert [clip.text for clip in manifest.clips] == ["e", "f"]
    assert manifest.dropped == {"boredom": 2, "Contempt": 1, "trust|anticipation": 1}
    assert manifest.problems == ()


def test_votes_without_a_place_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = "path,votes_anger,votes_contempt,votes_unknown\na.png,1,9,0\nb.png,2,4,4\nc.png,5,5,0\n"
    manifest = scan_manifest(write(tmp_path, rows))
    assert manifest.dropped == {"contempt": 1, "contempt|unknown": 1}
    (tied,) = manifest.clips
    assert tied.attributes["majority"] == ""


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("path,emotion", "a.wav,hapy", "unknown emotion 'hapy'; did you mean 'happy'?"),
        ("path,start", "a.wav,soon", "start is 'soon': expected a number"),
        ("path,start", "a.wav,-1", "start is -1: expected seconds from 0"),
        ("path,start", "a.wav,nan", "start is 'nan'"),
        ("path,start,end", "a.wav,2,2", "end 2 is not after start 2"),
        ("path,scripted", "a.wav,perhaps", "scripted is 'perhaps': expected yes or no"),
        ("path,votes_sad", "a.png,-3", "votes_sad is -3: votes cannot be negative"),
        ("path,votes_sad", "a.png,many", "votes_sad is 'many'"),
        ("path,votes_sadd", "a.png,3", "unknown emotion 'sadd'"),
        ("path,votes:irony", "a.png,3", "expected votes:TASK:LABEL"),
        ("path,value:valence", "a.wav,inf", "value:valence is 'inf'"),
        ("path,label:mood", "a.wav,|", "expected a label"),
        ("path,words", "a.wav,[1]", "words: expected a list"),
        ("path,words", "a.wav,{", "words: expected a list"),
        ("path,speech", "a.wav,b.wav", "two paths for speech"),
        ("path", "https://example.org/a.wav", "is not a file path"),
        ("path,id", "a.wav", "1 cells where the header has 2"),
        ("path,id", "a.wav,1,2", "3 cells where the header has 2"),
        ("path,text,id", ",,1", "nothing to read: fill one of path, speech"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path: Path, header: str, row: str, message: str) -> None:
    manifest = scan_manifest(
        write(tmp_path, f'{header}\n"{"x" * 3}\n.wav"{"," * header.count(",")}\n{row}\n')
    )
    (problem,) = manifest.problems
    assert len(manifest.clips) == 1
    assert problem.place == "line 4"
    assert message in problem.message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "expected a JSON object"),
        ('{"text": "a", "text": "b"}', "a key stands twice"),
        ('{"text": "a", "value:x": NaN}', "NaN is no JSON number"),
        ('{"text": "\\ud800"}', "lone surrogate"),
        ('{"text": ' + "[" * 100_000 + "}", "not JSON"),
        ('{"text": "a", "words": {"text": 1}}', "words: expected a list"),
    ],
)
def test_a_bad_json_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    manifest = scan_manifest(write(tmp_path, f'{{"text": "good"}}\n{line}\n', "m.jsonl"))
    (problem,) = manifest.problems
    assert (problem.place, len(manifest.clips)) == ("line 2", 1)
    assert message in problem.message


def test_two_clips_with_one_id(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 4: the id 'a' stands already in line 2") as caught:
        read_manifest(write(tmp_path, "id,text\na,x\nb,y\na,z\n"))
    assert caught.value.code == "clip_duplicate"


def test_one_error_names_the_first_bad_rows_and_counts_them(tmp_path: Path) -> None:
    path = write(tmp_path, "text,emotion\n" + "hm,hapy\n" * 5)
    with pytest.raises(DataError) as caught:
        read_manifest(path)
    message = str(caught.value)
    assert caught.value.code == "label_unknown"
    assert "5 rows cannot be used: line 2: " in message
    assert "line 4: " in message
    assert "line 5: " not in message
    assert message.endswith("and 2 more")
    assert "\n" not in message


def test_rows_with_different_faults_share_the_general_code(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_manifest(write(tmp_path, "text,emotion,start\nhm,hapy,\nhm,happy,soon\n"))
    assert caught.value.code == "manifest_row_invalid"


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("m.csv", b"", "manifest_column_missing"),
        ("m.csv", b"name,feeling\na,happy\n", "manifest_column_missing"),
        ("m.csv", b"text,text\na,b\n", "manifest_invalid"),
        ("m.csv", b'text\n"open\n', "manifest_invalid"),
        ("m.csv", "text\nfühlen\n".encode("latin-1"), "manifest_invalid"),
        ("m.jsonl", b"\xff\xfe{}", "manifest_invalid"),
        ("m.parquet", b"PAR1 no, not really", "manifest_invalid"),
        ("m.xlsx", b"PK", "manifest_invalid"),
    ],
)
def test_what_is_no_manifest_at_all(tmp_path: Path, name: str, content: bytes, code: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        scan_manifest(tmp_path / name)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def test_no_manifest_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(DataError) as caught:
            read_manifest(path)
        assert caught.value.code == "manifest_not_found"


@pytest.mark.parametrize("write_it", [True, False])
def test_parquet_without_pyarrow_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_it: bool
) -> None:
    path = write(tmp_path, "", "m.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r'pip install "affetto\[parquet\]"') as caught:
        write_manifest([], path) if write_it else read_manifest(path)
    assert caught.value.code == "extra_missing"


def test_parquet_with_the_types_that_tables_have(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    columns = {
        "Path": ["a.wav", "b.wav"],
        "speaker": [1.0, None],  # integers with a gap
        "start": [0, 1],
        "scripted": [True, False],
        "emotion": [["happy", "sad"], ["fear"]],
        "words": [[{"text": "no", "start": 0.0, "end": 0.5}], []],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "m.parquet")
    first, second = read_manifest(tmp_path / "m.parquet")
    assert (first.speaker, second.speaker) == ("1", None)
    assert (first.scripted, second.scripted, second.start) == (True, False, 1.0)
    assert (first.labels["emotion"], second.labels["emotion"]) == (("happiness", "sadness"), ("fear",))
    assert first.words == (Word("no", 0.0, 0.5),)


def test_a_manifest_as_a_corpus_is_named_after_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "callcentre"
    folder.mkdir()
    write(folder, "text,corpus,emotion\na,,happy\nb,other,sad\nc,,boredom\n")
    for path in (folder, folder / "manifest.csv"):
        corpus = read_manifest_corpus(path)
        assert (corpus.name, corpus.dropped) == ("callcentre", {"boredom": 1})
        assert [clip.corpus for clip in corpus.clips] == ["callcentre", "other"]
    write(folder, "text\na\n", "pilot.csv")
    assert read_manifest_corpus(folder / "pilot.csv").name == "pilot"


# --- writing ---------------------------------------------------------------------------------------------

NAMES = st.text(st.sampled_from("abcXYZ012äß字-_."), min_size=1, max_size=8)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(lambda text: text + "x")
FILES = NAMES.map(lambda name: f"media/x{name}")
SHARES = st.lists(st.integers(0, 9), min_size=7, max_size=7).filter(any)
SECONDS = st.floats(0, 1e6, allow_nan=False)


@st.composite
def emotions(draw: st.DrawFn) -> object:
    kind = draw(st.sampled_from(["one", "several", "votes"]))
    if kind == "one":
        return draw(st.sampled_from(EMOTIONS))
    if kind == "several":
        return tuple(draw(st.lists(st.sampled_from(EMOTIONS), min_size=1, unique=True)))
    shares = draw(SHARES)
    return {name: count / sum(shares) for name, count in zip(EMOTIONS, shares, strict=True)}


@st.composite
def clips(draw: st.DrawFn) -> Clip:
    optional = lambda strategy: draw(st.none() | strategy)  # noqa: E731
    labels = {"emotion": draw(emotions())} if draw(st.booleans()) else {}
    labels |= {"mood": draw(NAMES)} if draw(st.booleans()) else {}
    labels |= {"valence": draw(st.floats(-1, 1))} if draw(st.booleans()) else {}
    labels |= {"irony": {"yes": draw(SECONDS), "no": 1.0}} if draw(st.booleans()) else {}
    attributes = draw(st.dictionaries(NAMES.map(lambda name: f"x{name}"), TEXTS, max_size=2))
    if isinstance(labels.get("emotion"), dict):
        attributes["majority"] = draw(st.sampled_from(["", "anger", "fear"]))
    start = optional(SECONDS)
    word = st.builds(Word, TEXTS, SECONDS, SECONDS, st.booleans())
    return Clip(
        id="",
        speech=optional(FILES.map(lambda name: f"{name}.wav")),
        text=draw(TEXTS),
        vision=optional(FILES.map(lambda name: f"{name}.zip#in/{name}.png")),
        start=start,
        end=optional(SECONDS.map(lambda seconds: seconds + (start or 0) + 1)),
        words=tuple(draw(st.lists(word, max_size=2))),
        speaker=optional(NAMES),
        group=optional(NAMES),
        gender=optional(st.sampled_from(["female", "male"])),
        language=optional(st.sampled_from(["en", "de"])),
        scripted=draw(st.booleans()),
        labels=labels,
        split=optional(st.sampled_from(["train", "validation", "test", "fold3"])),
        corpus=optional(NAMES),
        attributes=attributes,
    )


@pytest.mark.parametrize("suffix", FORMATS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.lists(clips(), max_size=3))
def test_reading_what_was_written_gives_the_same_clips(
    tmp_path: Path, suffix: str, drawn: list[Clip]
) -> None:
    from dataclasses import replace

    written = [
        replace(
            clip,
            id=f"clip{number}",
            speech=clip.speech and str(tmp_path / clip.speech),
            vision=clip.vision and str(tmp_path / clip.vision),
        )
        for number, clip in enumerate(drawn)
    ]
    path = tmp_path / f"round{suffix}"
    write_manifest(written, path)
    assert read_manifest(path) == written


def test_paths_are_written_relative_to_the_manifest(tmp_path: Path) -> None:
    clip = Clip(
        "a", str(tmp_path / "data" / "a.wav"), attributes={"features": str(tmp_path / "f.npz") + "#3"}
    )
    (tmp_path / "lists").mkdir()
    path = tmp_path / "lists" / "m.jsonl"
    write_manifest([clip], path)
    assert json.loads(path.read_text()) == {"id": "a", "speech": "../data/a.wav", "features": "../f.npz#3"}
    assert read_manifest(path) == [clip]


def test_relative_paths_are_meant_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lists").mkdir()
    write_manifest([Clip("a", "a.wav")], "lists/m.csv")
    (clip,) = read_manifest("lists/m.csv")
    assert clip.speech == "a.wav"


@pytest.mark.parametrize(
    "clip",
    [
        Clip("a", text="x", labels={"mood": "good|bad"}),
        Clip("a", text="x", labels={"emotion": ("",)}),
        Clip("a", text="x", labels={"valence": float("nan")}),
        Clip("a", text="x", attributes={"Speaker": "1"}),
        Clip("a", text="x", attributes={"votes_sad": "1"}),
        Clip("a", text="\ud800"),
    ],
)
@pytest.mark.parametrize("suffix", FORMATS)
def test_what_no_manifest_can_hold_is_refused(tmp_path: Path, clip: Clip, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    with pytest.raises(DataError) as caught:
        write_manifest([clip], path)
    assert caught.value.code == "manifest_row_invalid"
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_manifest_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.csv"
    write_manifest([Clip("old", text="x")], path)
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(DataError, match="disk full") as caught:
        write_manifest([Clip("new", text="x")], path)
    assert caught.value.code == "output_unwritable"
    assert [clip.id for clip in read_manifest(path)] == ["old"]
    assert [file.name for file in tmp_path.iterdir()] == ["m.csv"]


def test_a_folder_that_is_not_there_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(AffettoError) as caught:
        write_manifest([], tmp_path / "none" / "m.csv")
    assert caught.value.code == "output_unwritable"
    with pytest.raises(DataError, match=r"expected a name ending in \.csv"):
        write_manifest([], tmp_path / "m.xlsx")
