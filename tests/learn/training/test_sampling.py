from collections import Counter

import numpy as np
import pytest

from affetto.learn.config import TaskConfig
from affetto.learn.training.randomness import generator, torch_seed
from affetto.learn.training.sampling import bucket, draw, epoch_size, shares
from affetto.records import Clip

TASK = TaskConfig("emotion", labels=("anger", "fear", "joy"))


def corpus(name, **counts):
    return [
        Clip(f"{name}-{label}-{i}", corpus=name, labels={"emotion": label})
        for label, n in counts.items()
        for i in range(n)
    ]


def drawn_labels(clips, indices):
    return Counter((clips[i].corpus, clips[i].labels["emotion"]) for i in indices)


def test_natural_draw_is_a_permutation():
    clips = corpus("a", anger=30, joy=10)
    indices = draw(shares(clips, TASK, 0.0, {}), 40, generator(0))
    assert sorted(indices) == list(range(40))
    assert indices != list(range(40))


def test_balanced_draw_has_every_class_of_a_corpus_alike():
    clips = corpus("a", anger=60, joy=20, fear=10) + corpus("b", anger=40, joy=8)
    indices = draw(shares(clips, TASK, 1.0, {}), 138, generator(0))
    counts = drawn_labels(clips, indices)
    assert [counts["a", label] for label in ("anger", "fear", "joy")] == pytest.approx([30, 30, 30], abs=1)
    assert [counts["b", label] for label in ("anger", "joy")] == pytest.approx([24, 24], abs=1)


def test_half_balance_lies_between():
    clips = corpus("a", anger=64, joy=16)
    strata = shares(clips, TASK, 0.5, {})
    assert strata["a", "anger"][0] / strata["a", "joy"][0] == pytest.approx(2.0)


def test_corpus_weight_multiplies_its_size():
    clips = corpus("a", anger=50) + corpus("b", anger=50)
    counts = drawn_labels(clips, draw(shares(clips, TASK, 1.0, {"b": 3.0}), 100, generator(0)))
    assert counts["b", "anger"] == pytest.approx(75, abs=1)


def test_no_clip_comes_twice_before_all_came_once():
    clips = corpus("a", anger=50, joy=7)
    counts = Counter(draw(shares(clips, TASK, 1.0, {}), 60, generator(5)))
    joys = [counts[i] for i, clip in enumerate(clips) if clip.labels["emotion"] == "joy"]
    assert max(joys) - min(joys) <= 1


def test_draw_depends_on_its_generator_alone():
    clips = corpus("a", anger=20, joy=5)
    strata = shares(clips, TASK, 1.0, {})
    assert draw(strata, 30, generator(1, "order", 2)) == draw(strata, 30, generator(1, "order", 2))
    assert draw(strata, 30, generator(1, "order", 2)) != draw(strata, 30, generator(1, "order", 3))


def test_several_labels_count_for_the_rarest_and_votes_for_the_most():
    clips = [
        *corpus("a", anger=5),
        Clip("x", corpus="a", labels={"emotion": ("anger", "fear")}),
        Clip("y", corpus="a", labels={"emotion": {"joy": 3, "anger": 2}}),
        Clip("z", corpus="a"),
    ]
    strata = shares(clips, TASK, 1.0, {})
    assert strata["a", "fear"][1] == [5]
    assert strata["a", "joy"][1] == [6]
    assert strata["a", ""][1] == [7]


def test_buckets_hold_everything_once_and_like_lengths_together():
    lengths = np.random.default_rng(0).integers(1, 60, 200).tolist()
    batches = bucket(lengths, 10, generator(0))
    assert sorted(i for batch in batches for i in batch) == list(range(200))
    assert all(len(batch) == 10 for batch in batches)
    padded = sum(max(lengths[i] for i in batch) * len(batch) for batch in batches)
    unsorted = sum(max(lengths[i : i + 10]) * 10 for i in range(0, 200, 10))
    assert padded - sum(lengths) < 0.35 * (unsorted - sum(lengths))


def test_epochs_are_whole_batches():
    assert epoch_size(5, 16) == 5
    assert epoch_size(16, 16) == 16
    assert epoch_size(17, 16) == 32


def test_random_streams_are_named():
    assert generator(0, "a", 1).random() == generator(0, "a", 1).random()
    numbers = {generator(s, p, i).random() for s in (0, 1) for p in ("a", "b") for i in (0, 1)}
    assert len(numbers) == 8
    assert torch_seed(0, "a") == torch_seed(0, "a") != torch_seed(0, "b")
    assert 0 <= torch_seed(123, "x") < 2**63
