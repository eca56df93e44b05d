"""CMU-MOSI in miniature: the table of utterances, pickles of sequences, and pickles that are none."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from affetto.data.corpora import read_corpus
from affetto.data.corpora.pickles import read_arrays
from affetto.data.precomputed import FeatureArchives
from affetto.errors import DataError


@pytest.fixture
def utterances(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "mosi_utterance.npz",
        text=rng.normal(size=(3, 4)),
        audio=rng.normal(size=(3, 2)),
        video=rng.normal(size=(3, 5)),
        label=np.array([1, 0, 1], np.int8),
        split=np.array(["test", "train", "train"]),
        id=np.array(["ab_1", "c_d_1", "c_d_2"]),
        transcript=np.array(["GOOD", "BAD", "FINE"]),
    )
    return tmp_path


def published(count):
    rng = np.random.default_rng(count)
    audio = rng.normal(size=(count, 3, 2))
    audio[0, 1, 0] = -np.inf
    return {
        "text": rng.normal(size=(count, 3, 4)).astype(np.float32),
        "audio": audio,
        "vision": rng.normal(size=(count, 3, 5)),
        "regression_labels": np.linspace(-2.6, 2.6, count),
        "id": [f"video{count}$_${i}" for i in range(count)],
        "raw_text": np.array([f"words {i}" for i in range(count)], dtype=object),
        "annotations": ["Negative"] * count,
    }


def test_the_table_of_utterances(utterances):
    corpus = read_corpus("mosi", utterances)
    first, second, _ = corpus.clips
    assert (first.id, first.text, first.split, first.speaker) == ("ab_1", "GOOD", "test", "ab")
    assert [clip.labels["sentiment"] for clip in corpus.clips] == ["positive", "negative", "positive"]
    assert first.modalities() == ("speech", "text", "vision")
    assert (second.speaker, second.group) == ("c_d", "c_d")
    with np.load(utterances / "mosi_utterance.npz") as arrays:
        for name, array in (("speech", "audio"), ("text", "text"), ("vision", "video")):
            read = FeatureArchives().read(second.features[name])
            np.testing.assert_allclose(read[0], arrays[array][1], rtol=1e-6)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_is_unpacked_once(tmp_path, protocol):
    parts = {"train": published(5), "valid": published(3), "test": published(2)}
    (tmp_path / "aligned_50.pkl").write_bytes(pickle.dumps(parts, protocol=protocol))
    corpus = read_corpus("mosi", tmp_path)
    assert [clip.split for clip in corpus.clips] == ["train"] * 5 + ["validation"] * 3 + ["test"] * 2
    assert corpus.problems == ("3 values were not finite and are 0",)
    first, middle = corpus.clips[0], corpus.clips[2]
    assert (first.id, first.speaker, first.text) == ("video5$_$0", "video5", "words 0")
    assert first.labels == {
        "sentiment": "negative",
        "sentiment7": "-3",
        "sentiment_score": pytest.approx(-2.6),
    }
    assert middle.labels == {"sentiment7": "0", "sentiment_score": 0.0}
    np.testing.assert_array_equal(
        FeatureArchives().read(corpus.clips[1].features["text"]), parts["train"]["text"][1]
    )
    assert np.isfinite(FeatureArchives().read(first.features["speech"])).all()
    (tmp_path / "aligned_50.pkl").unlink()
    assert read_corpus("mosi", tmp_path) == corpus


def test_a_pickle_that_would_run_something_is_refused_before_it_does(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "mosi_data.pkl").write_bytes(pickle.dumps({"train": {"text": Bomb()}}))
    with pytest.raises(DataError, match=r"names posix.mkdir") as error:
        read_corpus("mosi", tmp_path)
    assert error.value.code == "corpus_layout"
    assert not (tmp_path / "ran").exists()
    pickle.loads((tmp_path / "mosi_data.pkl").read_bytes())
    assert (tmp_path / "ran").exists(), "the bomb is a real one"


@pytest.mark.parametrize(
    "names",
    [b"cbuiltins\neval\n(S'1'\ntR.", b"cnumpy\nload\n(S'x'\ntR.", b"cnumpy.core.multiarray\nfromfile\n."],
)
def test_no_other_function_is_found(tmp_path, names):
    (tmp_path / "a.pkl").write_bytes(names)
    with pytest.raises(DataError, match="may run anything"):
        read_arrays(tmp_path / "a.pkl")


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([1, 2]), pickle.dumps({"a": 1})])
def test_other_files_are_no_mosi(tmp_path, content):
    (tmp_path / "mosi_data.pkl").write_bytes(content)
    with pytest.raises(DataError) as error:
        read_corpus("mosi", tmp_path)
    assert error.value.code == "corpus_layout"
