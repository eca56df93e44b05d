"""The readers on real corpora, where they lie beside the repository; skipped where they do not."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from affetto.data.audit import check_leaks, duplicate_clips
from affetto.data.corpora import read_corpus
from affetto.data.manifest import Corpus, read_manifest, write_manifest
from affetto.data.splits import folds_by_speaker, reserve, split_by_speaker
from affetto.labels import EMOTIONS

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real corpora are not beside the repository")


def emotions(corpus: Corpus) -> Counter[str]:
    return Counter(str(clip.labels["emotion"]) for clip in corpus.clips)


def test_ravdess() -> None:
    corpus = read_corpus("ravdess", DATA / "ravdess")
    assert len(corpus.clips) == 960
    six = dict.fromkeys(("anger", "disgust", "fear", "happiness", "sadness", "surprise"), 128)
    assert emotions(corpus) == {**six, "neutral": 64 + 128}
    assert "are the same recording" in corpus.problems[0]
    folds = folds_by_speaker(corpus.clips, 4)
    assert [len(fold) for fold in folds] == [240] * 4


def test_emodb() -> None:
    corpus = read_corpus("emodb", DATA / "emodb")
    assert (len(corpus.clips), dict(corpus.dropped)) == (535 - 81, {"boredom": 81})
    assert emotions(corpus)["anger"] == 127
    assert {clip.attributes["truncated"] for clip in corpus.clips} == {"0", "1"}
    whole = {clip.labels["emotion"] for clip in corpus.clips if clip.attributes["truncated"] == "1"}
    assert whole == {"fear", "disgust"}


@pytest.mark.parametrize("name", ["ravdess", "emodb"])
def test_file_names_say_what_the_manifest_says(name: str, tmp_path: Path) -> None:
    listed = read_corpus(name, DATA / name)
    inside = {"ravdess": "", "emodb": "wav"}[name]
    for clip in listed.clips:
        file = Path(clip.speech or "")
        copy = tmp_path / inside / (file.relative_to(DATA / name) if name == "ravdess" else file.name)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(b"")
    named = {clip.id: clip for clip in read_corpus(name, tmp_path).clips}
    assert set(named) == {clip.id for clip in listed.clips}
    for clip in listed.clips:
        other = named[clip.id]
        for field in ("labels", "speaker", "gender", "text", "language", "scripted", "corpus"):
            assert getattr(clip, field) == getattr(other, field), (clip.id, field)


def test_nemo() -> None:
    corpus = read_corpus("nemo", DATA / "nemo")
    assert len(corpus.clips) == 1415
    assert emotions(corpus) == {"anger": 229, "fear": 216, "happiness": 230, "neutral": 290, "sadness": 249, "surprise": 201}  # fmt: skip  # noqa: E501
    assert all(clip.scripted and clip.modalities() == ("speech",) for clip in corpus.clips)
    pairs = [{clip.speaker for clip in fold} for fold in folds_by_speaker(corpus.clips, 3)]
    assert pairs == [{"IC0", "MP0"}, {"KD0", "SM0"}, {"MK0", "TP0"}]


def test_ferplus() -> None:
    corpus = read_corpus("ferplus", DATA / "ferplus_faces")
    assert corpus.dropped == {"contempt": 51, "unknown": 58, "not_face": 1, "contempt|unknown": 1}
    assert len(corpus.clips) == 9079 - 111
    assert Counter(clip.split for clip in corpus.clips).keys() == {"train", "validation"}
    majority = Counter(clip.attributes["majority"] for clip in corpus.clips)
    assert {**majority, "": 0} == {"neutral": 3078, "happiness": 2306, "anger": 763, "sadness": 1071, "fear": 190, "surprise": 1070, "disgust": 63, "": 0}  # fmt: skip  # noqa: E501
    assert majority[""] == 428 - 1


def test_goemotions() -> None:
    corpus = read_corpus("goemotions", DATA / "text_goemotions")
    splits = Counter(clip.split for clip in corpus.clips)
    assert splits == {"train": 43410, "validation": 5426, "test": 5427}
    assert (dict(corpus.dropped), corpus.problems) == ({}, ())
    assert {label for clip in corpus.clips for label in clip.labels["emotion"]} == set(EMOTIONS)  # type: ignore[union-attr]
    kept = split_by_speaker(corpus.clips, {"train": 1.0})
    assert 0 < len(corpus.clips) - len(kept) < 400
    assert Counter(clip.split for clip in kept)["test"] == 5427
    texts = {
        split: {(clip.text or "").casefold() for clip in kept if clip.split == split} for split in splits
    }
    assert not texts["train"] & (texts["test"] | texts["validation"])


@pytest.mark.parametrize("language", ["en", "de", "pl", "it", "es", "fr", "pt", "nl", "ar", "tr"])
def test_xed(language: str) -> None:
    corpus = read_corpus("xed", DATA / "text_xed", languages=(language,))
    lines = {"en": 17528 + 9675, "de": 5978, "pl": 7192, "it": 6913, "es": 11306, "fr": 7560, "pt": 7221,
             "nl": 5334, "ar": 3591, "tr": 9204}  # fmt: skip
    skipped = sum(int(problem.split()[2]) for problem in corpus.problems)
    header = language == "tr"
    assert len(corpus.clips) + sum(corpus.dropped.values()) + skipped + header == lines[language]
    assert skipped < 0.09 * lines[language]
    assert {clip.language for clip in corpus.clips} == {language}
    assert duplicate_clips(corpus.clips) == []


def test_mosi() -> None:
    corpus = read_corpus("mosi", DATA / "cmu_mosi_features")
    assert Counter(clip.split for clip in corpus.clips) == {"train": 1447, "test": 752}
    videos = {split: {c.speaker for c in corpus.clips if c.split == split} for split in ("train", "test")}
    assert (len(videos["train"]), len(videos["test"])) == (62, 31)
    check_leaks(corpus.clips)
    listed = {row["id"]: row for row in csv.DictReader((DATA / "cmu_mosi_features/manifest.csv").open())}
    for clip in corpus.clips:
        row = listed[clip.id]
        assert (clip.labels["sentiment"], clip.speaker) == (row["sentiment"], row["speaker"])
        assert clip.features["text"].endswith(f"#text/{row['path'].rpartition('#')[2]}")


@pytest.mark.parametrize(("name", "count"), [("fsdd", 1500), ("grid_av", 120), ("cmu_mosi_features", 2199)])
def test_corpora_without_emotions_are_manifests(name: str, count: int) -> None:
    corpus = read_corpus("manifest", DATA / name)
    assert (corpus.name, len(corpus.clips), dict(corpus.dropped)) == (name, count, {})
    assert not any(clip.labels for clip in corpus.clips)
    check_leaks(corpus.clips)


def test_reserved_people_and_a_mixture(tmp_path: Path) -> None:
    clips = [clip for name in ("ravdess", "nemo", "emodb") for clip in read_corpus(name, DATA / name).clips]
    reserved = {"ravdess": ("15", "16"), "nemo": ("SM0", "KD0"), "emodb": ("15", "16")}
    divided = split_by_speaker(reserve(clips, reserved), {"train": 0.9, "validation": 0.1})
    check_leaks(divided)
    tested = {(clip.corpus, clip.speaker) for clip in divided if clip.split == "test"}
    assert tested == {(corpus, name) for corpus, names in reserved.items() for name in names}
    write_manifest(divided, tmp_path / "mixture.jsonl")
    assert read_manifest(tmp_path / "mixture.jsonl") == divided
