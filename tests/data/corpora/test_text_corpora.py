"""GoEmotions and XED: miniatures of the published layouts."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from affetto.data.corpora import read_corpus
from affetto.data.corpora.layout import unquoted
from affetto.errors import DataError
from affetto.labels import GOEMOTIONS

NAMES = [*sorted(set(GOEMOTIONS) - {"neutral"}), "neutral"]  # the published order: alphabetical, neutral last


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = text.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def code(*names: str) -> str:
    return ",".join(str(NAMES.index(name)) for name in names)


def goemotions(folder: Path, suffix: str, names: str) -> None:
    put(folder / names, "\n".join(NAMES))
    train = f"I love it\t{code('love')}\tid1\n" + f"Oh no, great\t{code('grief', 'love', 'joy')}\tid2\n"
    put(folder / f"train.tsv{suffix}", train + f'"He said ""no"" twice"\t{code("neutral")}\tid3\n')
    put(folder / f"dev.tsv{suffix}", f"half\u2028way\t{code('anger')}\tid4\r\n")
    put(folder / f"test.tsv{suffix}", f"What?\t{code('curiosity')}\tid5\nbad row\n\t3\tid6\nx\t99\tid7\n")


@pytest.mark.parametrize(
    ("inside", "suffix", "names"), [("", ".gz", "labels.txt"), ("data", "", "emotions.txt")]
)
def test_goemotions_as_published(tmp_path: Path, inside: str, suffix: str, names: str) -> None:
    goemotions(tmp_path / inside, suffix, names)
    corpus = read_corpus("goemotions", tmp_path)
    found = {clip.id: (clip.split, clip.labels["emotion"], clip.text) for clip in corpus.clips}
    assert found == {
        "id1": ("train", ("happiness",), "I love it"),
        "id2": ("train", ("sadness", "happiness"), "Oh no, great"),
        "id3": ("train", ("neutral",), 'He said "no" twice'),
        "id4": ("validation", ("anger",), "half\u2028way"),
        "id5": ("test", ("surprise",), "What?"),
    }
    assert {(clip.language, clip.corpus, clip.speaker) for clip in corpus.clips} == {
        ("en", "goemotions", None)
    }
    assert [problem.split(" is")[0] for problem in corpus.problems] == [
        f"test.tsv{suffix} line {n}" for n in (2, 3, 4)
    ]


def test_goemotions_with_other_labels_is_another_corpus(tmp_path: Path) -> None:
    goemotions(tmp_path, "", "emotions.txt")
    put(tmp_path / "emotions.txt", "good\nbad\n")
    with pytest.raises(DataError, match=r"emotions\.txt with the 28 labels") as caught:
        read_corpus("goemotions", tmp_path)
    assert caught.value.code == "corpus_layout"


def test_a_missing_split_is_a_problem_not_an_error(tmp_path: Path) -> None:
    goemotions(tmp_path, "", "emotions.txt")
    (tmp_path / "dev.tsv").unlink()
    corpus = read_corpus("goemotions", tmp_path)
    assert (len(corpus.clips), corpus.problems[0]) == (4, "there is no validation split")


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    goemotions(tmp_path, ".gz", "emotions.txt")
    (tmp_path / "train.tsv.gz").write_bytes(b"\x1f\x8b not gzip")
    with pytest.raises(DataError, match=r"cannot read .*train\.tsv\.gz") as caught:
        read_corpus("goemotions", tmp_path)
    assert caught.value.code == "corpus_layout"


# --- XED -------------------------------------------------------------------------------------------------

ENGLISH = (
    "I love it .\t5\nOh dear !\t6, 1\nTrust me .\t8\nSoon .\t2, 8\nSoon , friend !\t8, 2, 5\nno labels\n\t3\n"
)
NEUTRAL = "9\tOne moment please.\n\t\t\t\t\n9\tNot yet.\t\t\t\n"
GERMAN = '"Er sagte ""nein""."\t1\r\n"Heul dich\r\nen/1.gz\tde/1.gz\t1\t2\tCry.\tHeul."\t3\r\nGut.\t5, 7\r\n'
TURKISH = "Gel.\t{'3', '1'}\n"
TURKISH_2 = 'phrase\temotion\nKanıt "D" yi.\t2, 5\n'
PUBLISHED = {
    "AnnotatedData/en-annotated.tsv": ENGLISH,
    "AnnotatedData/neu_en.txt": NEUTRAL,
    "Projections/en-projections.tsv": "never read\t1\n",
    "Projections/de-projections.tsv": GERMAN,
    "Projections/br-projections.tsv": "Sim.\t4\n",
    "Projections/tr-projections.tsv": TURKISH,
    "Projections/tr-projections2.tsv": TURKISH_2,
}


@pytest.fixture(params=["published", "flat and zipped"])
def xed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    for name, text in PUBLISHED.items():
        put(tmp_path / name if request.param == "published" else tmp_path / f"{Path(name).name}.gz", text)
    return tmp_path


def test_xed_english(xed: Path) -> None:
    corpus = read_corpus("xed", xed)
    assert [(clip.id, clip.text, clip.labels["emotion"]) for clip in corpus.clips] == [
        ("en-1", "I love it .", ("happiness",)),
        ("en-2", "Oh dear !", ("anger", "sadness")),
        ("en-5", "Soon , friend !", ("happiness",)),
        ("en-neutral-1", "One moment please.", ("neutral",)),
        ("en-neutral-3", "Not yet.", ("neutral",)),
    ]
    assert corpus.dropped == {"trust": 1, "anticipation|trust": 1}
    assert corpus.problems == ("left out 3 lines of en that are not a sentence and its labels",)
    assert {(clip.split, clip.language, clip.speaker) for clip in corpus.clips} == {(None, "en", None)}


def test_xed_other_languages_on_request(xed: Path) -> None:
    corpus = read_corpus("xed", xed, languages=("de", "br", "tr"))
    assert [(clip.language, clip.text, clip.labels["emotion"]) for clip in corpus.clips] == [
        ("de", 'Er sagte "nein".', ("anger",)),
        ("de", "Gut.", ("happiness", "surprise")),
        ("pt", "Sim.", ("fear",)),
        ("tr", 'Kanıt "D" yi.', ("happiness",)),
    ]
    assert corpus.problems == ("left out 2 lines of de that are not a sentence and its labels",)
    assert read_corpus("xed", xed, languages="de").clips == corpus.clips[:2]


def test_xed_in_the_older_turkish_file(tmp_path: Path) -> None:
    put(tmp_path / "Projections/tr-projections.tsv", TURKISH)
    (clip,) = read_corpus("xed", tmp_path, languages=("tr",)).clips
    assert clip.labels["emotion"] == ("anger", "disgust")


def test_xed_without_the_language_says_what_it_looked_for(xed: Path) -> None:
    with pytest.raises(DataError, match=r"Projections/ja-projections\.tsv") as caught:
        read_corpus("xed", xed, languages=("en", "ja"))
    assert caught.value.code == "corpus_layout"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("plain ", "plain"),
        ('"quoted, once"', "quoted, once"),
        ('"said ""no"""', 'said "no"'),
        ('"Yes" and "no"', '"Yes" and "no"'),
        ('"', '"'),
        ('""', ""),
    ],
)
def test_quoting_is_undone_only_where_it_is_quoting(cell: str, text: str) -> None:
    assert unquoted(cell) == text
