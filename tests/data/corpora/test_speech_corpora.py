"""RAVDESS, EmoDB, nEMO: miniatures of the published layouts, and of folders that are something else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from affetto.data.corpora import read_corpus
from affetto.data.manifest import write_manifest
from affetto.errors import DataError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


# --- RAVDESS ---------------------------------------------------------------------------------------------


def actor(number: int) -> list[str]:
    """The sixty names of an actor's speech: neutral has no strong intensity."""
    return [
        f"Actor_{number:02}/03-01-{emotion:02}-{intensity:02}-{sentence:02}-{take:02}-{number:02}.wav"
        for emotion in range(1, 9)
        for intensity in ((1,) if emotion == 1 else (1, 2))
        for sentence in (1, 2)
        for take in (1, 2)
    ]


def test_ravdess_as_published(tmp_path: Path) -> None:
    touch(tmp_path / "Audio_Speech_Actors_01-24", *actor(1), *actor(12))
    corpus = read_corpus("ravdess", tmp_path)
    assert (corpus.name, len(corpus.clips), dict(corpus.dropped), corpus.problems) == ("ravdess", 120, {}, ())
    counts = Counter(str(clip.labels["emotion"]) for clip in corpus.clips)
    assert counts == {"neutral": 24, **dict.fromkeys(
        ("happiness", "sadness", "anger", "fear", "disgust", "surprise"), 16)}  # fmt: skip
    clip = next(clip for clip in corpus.clips if clip.id == "03-01-06-02-02-01-12")
    assert clip.speech == str(tmp_path / "Audio_Speech_Actors_01-24/Actor_12/03-01-06-02-02-01-12.wav")
    assert (clip.labels["emotion"], clip.speaker, clip.gender) == ("fear", "12", "female")
    assert (clip.text, clip.language, clip.scripted) == ("Dogs are sitting by the door", "en", True)
    assert clip.attributes == {"intensity": "strong", "repetition": "1"}
    assert clip.modalities() == ("speech",)
    assert {clip.gender for clip in corpus.clips if clip.speaker == "01"} == {"male"}


def test_ravdess_leaves_out_songs_videos_and_the_second_copy(tmp_path: Path) -> None:
    touch(tmp_path, *actor(3), "Actor_03/03-02-02-01-01-01-03.wav", "Actor_03/01-01-02-01-01-01-03.mp4")
    touch(tmp_path, "Actor_03/02-01-02-01-01-01-03.mp4", "Actor_03/notes.txt")
    touch(tmp_path / "audio_speech_actors_01-24", *actor(3))
    corpus = read_corpus("ravdess", tmp_path)
    assert len(corpus.clips) == 60
    assert corpus.problems == (
        "left out 1 other files",
        "left out 60 repeated files",
        "left out 1 silent video files",
        "left out 1 song files",
        "left out 1 video files",
    )


def test_ravdess_names_its_two_equal_recordings(tmp_path: Path) -> None:
    touch(tmp_path, *actor(7))
    corpus = read_corpus("ravdess", tmp_path)
    assert len(corpus.clips) == 60
    assert "03-01-03-01-02-01-07 and 03-01-03-01-02-02-07 are the same recording" in corpus.problems[0]


def test_ravdess_of_songs_only_says_what_it_found(tmp_path: Path) -> None:
    touch(tmp_path, "Actor_03/03-02-02-01-01-01-03.wav")
    with pytest.raises(DataError, match="but found only: left out 1 song files") as caught:
        read_corpus("ravdess", tmp_path)
    assert caught.value.code == "corpus_layout"


# --- EmoDB -----------------------------------------------------------------------------------------------


def test_emodb_as_published(tmp_path: Path) -> None:
    letters = {"W": "anger", "E": "disgust", "A": "fear", "F": "happiness", "T": "sadness", "N": "neutral"}
    touch(tmp_path / "wav", *(f"03a01{letter}a.wav" for letter in letters), "16b10Lb.wav", "08a05Lc.wav")
    touch(tmp_path / "wav", "99a01Wa.wav", "readme.wav")
    touch(tmp_path, "lablaut/03a01Wa.lablaut")
    corpus = read_corpus("emodb", tmp_path)
    assert {clip.id[5]: clip.labels["emotion"] for clip in corpus.clips} == letters
    assert corpus.dropped == {"boredom": 2}
    assert corpus.problems == ("left out 2 files without an EmoDB name: 99a01Wa.wav",)
    clip = corpus.clips[0]
    assert (clip.speaker, clip.gender, clip.language, clip.scripted) == ("03", "male", "de", True)
    assert clip.text == "Der Lappen liegt auf dem Eisschrank."
    assert clip.attributes == {"sentence": "a01", "age": "31"}
    assert clip.speech == str(tmp_path / "wav" / f"{clip.id}.wav")


def test_emodb_knows_ten_speakers_and_ten_sentences(tmp_path: Path) -> None:
    women, men = ("08", "09", "13", "14", "16"), ("03", "10", "11", "12", "15")
    sentences = ("a01", "a02", "a04", "a05", "a07", "b01", "b02", "b03", "b09", "b10")
    touch(tmp_path, *(f"{who}{what}Na.wav" for who in women + men for what in sentences))
    clips = read_corpus("emodb", tmp_path).clips
    assert len(clips) == 100
    assert len({clip.text for clip in clips}) == 10
    assert {clip.speaker for clip in clips if clip.gender == "female"} == set(women)


# --- nEMO ------------------------------------------------------------------------------------------------

NEMO_HEADER = "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"


def nemo_row(name: str, label: str, speaker: str, gender: str) -> str:
    return f"{name}.wav\t{label}\tNie, „kot”!\tnie kot\t        {speaker}\t{gender}\t23\n"


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_nemo_as_published(tmp_path: Path, line_end: str) -> None:
    names = {
        "anger": "anger",
        "fear": "fear",
        "happiness": "happiness",
        "neutral": "neutral",
        "sadness": "sadness",
        "surprised": "surprise",
    }
    touch(tmp_path / "samples", *(f"WR0_{label}_64.wav" for label in names))
    rows = "".join(nemo_row(f"WR0_{label}_64", label, "WR0", "male") for label in names)
    rows += nemo_row("EB0_fear_1", "fear", "EB0", "female") + nemo_row("EB0_joy_1", "joy", "EB0", "female")
    (tmp_path / "data.tsv").write_text(NEMO_HEADER + rows, encoding="utf-8", newline=line_end)
    corpus = read_corpus("nemo", tmp_path)
    assert {clip.id.split("_")[1]: clip.labels["emotion"] for clip in corpus.clips} == names
    assert "data.tsv line 9 is not a row of nEMO" in corpus.problems[0]
    assert corpus.problems[1] == "left out 1 rows whose recording is not in samples/"
    clip = corpus.clips[0]
    assert (clip.speaker, clip.gender, clip.language, clip.scripted) == ("WR0", "male", "pl", True)
    assert clip.text == "Nie, „kot”!"
    assert clip.attributes == {"age": "23", "normalized_text": "nie kot", "sentence": "64"}
    assert clip.speech == str(tmp_path / "samples" / "WR0_anger_64.wav")


def test_nemo_with_other_columns_is_another_corpus(tmp_path: Path) -> None:
    (tmp_path / "data.tsv").write_text("path\tsentence\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"expected data\.tsv with the columns file_id"):
        read_corpus("nemo", tmp_path)


# --- all of them -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ravdess", "emodb", "nemo"])
def test_the_same_corpus_as_a_manifest(tmp_path: Path, name: str) -> None:
    published, copy = tmp_path / "published", tmp_path / "copy"
    touch(published, *actor(4), "wav/03a01Fa.wav", "samples/WR0_fear_1.wav")
    (published / "data.tsv").write_text(NEMO_HEADER + nemo_row("WR0_fear_1", "fear", "WR0", "male"))
    corpus = read_corpus(name, published)
    copy.mkdir()
    write_manifest(corpus.clips, copy / "manifest.csv")
    again = read_corpus(name, copy)
    assert again.clips == corpus.clips
    assert (again.name, again.licence) == (name, corpus.licence)


@pytest.mark.parametrize(
    ("name", "label", "emotion", "speaker"),
    [
        ("ravdess", "calm", "neutral", "01"),
        ("emodb", "happy", "happiness", "03"),
        ("nemo", "surprise", "surprise", "S"),
    ],
)
def test_a_manifest_of_a_scripted_corpus(
    tmp_path: Path, name: str, label: str, emotion: str, speaker: str
) -> None:
    rows = f"id,path,speaker,emotion,text\n1,a.wav,{speaker},{label},the same\n"
    (tmp_path / "manifest.csv").write_text(rows)
    (clip,) = read_corpus(name, tmp_path).clips
    assert (clip.corpus, clip.scripted, clip.labels["emotion"]) == (name, True, emotion)
    (tmp_path / "manifest.csv").write_text(rows.replace(label, "hapy"))
    with pytest.raises(DataError) as caught:
        read_corpus(name, tmp_path)
    assert caught.value.code == "label_unknown"
