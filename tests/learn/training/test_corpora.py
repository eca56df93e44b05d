from collections import Counter

import pytest

from affetto.errors import ConfigError, DataError
from affetto.learn.config import CorpusConfig, DataConfig
from affetto.learn.training.corpora import load_clips, load_corpora

SPEAKERS = [f"p{i}" for i in range(8)]


def write(path, columns, rows):
    path.write_text("\n".join([",".join(columns), *(",".join(row) for row in rows)]) + "\n")


@pytest.fixture
def root(tmp_path):
    rows = [(f"{s}-{i}", "x.wav", s, "anger", "spoken") for s in SPEAKERS for i in range(3)]
    write(tmp_path / "spoken.csv", ("id", "path", "speaker", "emotion", "corpus"), rows)
    rows = [(f"t{i}", f"words {i}", "fear", "train" if i < 30 else "validation") for i in range(40)]
    write(tmp_path / "written.csv", ("id", "text", "emotion", "split"), rows)
    return tmp_path


def data(root, **changes):
    corpora = changes.pop(
        "corpora", (CorpusConfig("manifest", "spoken.csv"), CorpusConfig("manifest", "written.csv"))
    )
    return DataConfig(root=str(root), corpora=corpora, **{"validation": 0.25, **changes})


def people(clips, split):
    return {clip.speaker for clip in clips if clip.split == split and clip.speaker}


def test_speakers_are_split_and_official_splits_stay(root):
    clips = load_clips(data(root))
    assert len(people(clips, "validation")) == 2
    assert people(clips, "train") | people(clips, "validation") == set(SPEAKERS)
    assert not people(clips, "train") & people(clips, "validation")
    written = Counter(clip.split for clip in clips if clip.text)
    assert written == {"train": 30, "validation": 10}


def test_the_seed_chooses_who_validates(root):
    chosen = {frozenset(people(load_clips(data(root), seed), "validation")) for seed in range(5)}
    assert len(chosen) > 1
    assert people(load_clips(data(root), 3), "validation") == people(load_clips(data(root), 3), "validation")


def test_reserved_people_are_the_test_set(root):
    clips = load_clips(data(root, reserved={"spoken": ("p1", "p6")}))
    assert people(clips, "test") == {"p1", "p6"}
    assert not people(clips, "train") & {"p1", "p6"}


def test_folds_cover_everybody_once_and_spare_the_reserved(root):
    held_out = [
        people(load_clips(data(root, reserved={"spoken": ("p0",)}, folds=3, fold=fold)), "test") - {"p0"}
        for fold in range(3)
    ]
    assert set().union(*held_out) == set(SPEAKERS) - {"p0"}
    assert sum(map(len, held_out)) == 7


def test_a_whole_corpus_can_be_held_out(root):
    clips = load_clips(data(root, hold_out="spoken"))
    assert people(clips, "test") == set(SPEAKERS)


def test_an_official_split_can_become_the_test_set_and_validation_is_drawn_again(root):
    written = CorpusConfig("manifest", "written.csv", test_split="validation")
    splits = Counter(clip.split for clip in load_clips(data(root, corpora=(written,))))
    assert splits["test"] == 10
    assert 0 < splits["validation"] < 20
    assert splits["train"] + splits["validation"] == 30


def test_only_the_wanted_labels_are_kept(root):
    written = CorpusConfig("manifest", "written.csv", tasks=("language",))
    (corpus,) = load_corpora(data(root, corpora=(written,)))
    assert all(clip.labels == {} for clip in corpus.clips)


def test_no_validation_puts_everyone_into_training(root):
    splits = Counter(clip.split for clip in load_clips(data(root, validation=0.0)) if clip.speaker)
    assert splits == {"train": 24}


def test_nothing_to_read_is_an_error(root):
    with pytest.raises(ConfigError, match="is empty"):
        load_clips(DataConfig())
    with pytest.raises(DataError) as error:
        load_clips(data(root, corpora=(CorpusConfig("emodbb", "x"),)))
    assert error.value.code == "corpus_unknown"
