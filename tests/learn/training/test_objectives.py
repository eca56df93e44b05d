import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from affetto.errors import ConfigError
from affetto.learn.config import TaskConfig
from affetto.learn.models.recogniser import Output
from affetto.learn.training.objectives import mixup, supervised, trained_views
from affetto.records import Batch, Track

EMOTION = TaskConfig("emotion", labels=("a", "b"), weight=2.0)
VALENCE = TaskConfig("valence", "dimension", weight=0.5)
BOTH = ("speech", "text")


def make_output():
    logits = {
        "emotion": {
            "fused": torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]),
            "speech": torch.tensor([[3.0, 0.0], [9.0, 9.0], [1.0, 0.0]]),
            "text": torch.tensor([[9.0, 0.0], [0.0, 1.0], [1.0, 1.0]]),
            "vote": torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]]),
        },
        "valence": {"fused": torch.tensor([[0.1], [0.8], [0.3]])},
    }
    present = {
        "fused": torch.tensor([True, True, True]),
        "speech": torch.tensor([True, False, True]),
        "text": torch.tensor([False, True, True]),
    }
    return Output(logits=logits, weights={}, embeddings={}, present=present)


def make_batch():
    return Batch(
        inputs={},
        targets={
            "emotion": torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]),
            "valence": torch.tensor([0.0, 1.0, 0.5]),
        },
        target_mask={
            "emotion": torch.tensor([True, True, False]),
            "valence": torch.tensor([True, True, True]),
        },
        ids=("1", "2", "3"),
    )


def cost(*logits):
    """Cross-entropy of the first of two classes."""
    return -math.log(math.exp(logits[0]) / sum(math.exp(value) for value in logits))


def test_the_objective_is_the_sum_over_tasks_views_and_vote():
    output, batch = make_output(), make_batch()
    fused = (cost(1, 0) + cost(2, 0)) / 2
    speech = cost(3, 0)  # the second row has no speech, the third no label
    text = cost(1, 0)
    vote = (cost(2, 0) + cost(2, 0)) / 2
    x, y = torch.tensor([0.1, 0.8, 0.3]), torch.tensor([0.0, 1.0, 0.5])
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    ccc = 2 * covariance / (x.var(correction=0) + y.var(correction=0) + (x.mean() - y.mean()) ** 2)
    expected = 2.0 * (fused + speech + text + vote) + 0.5 * (1 - ccc.item())
    loss = supervised(output, batch, (EMOTION, VALENCE), modalities=BOTH, all_modalities=BOTH)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_stage_over_one_modality_trains_its_view_alone():
    loss = supervised(make_output(), make_batch(), (EMOTION,), modalities=("speech",), all_modalities=BOTH)
    assert loss.item() == pytest.approx(2.0 * cost(3, 0), rel=1e-5)


def test_label_smoothing_reaches_the_loss():
    output, batch = make_output(), make_batch()
    loss = supervised(output, batch, (EMOTION,), modalities=("speech",), all_modalities=BOTH, smoothing=0.2)
    expected = functional.cross_entropy(torch.tensor([[3.0, 0.0]]), torch.tensor([0]), label_smoothing=0.2)
    assert loss.item() == pytest.approx(2.0 * expected.item(), rel=1e-5)


def test_no_labelled_row_costs_nothing():
    batch = replace(make_batch(), target_mask={"emotion": torch.zeros(3, dtype=torch.bool)})
    assert supervised(make_output(), batch, (EMOTION,), modalities=BOTH).item() == 0.0


def test_a_stage_that_trains_no_head_is_refused():
    output = make_output()
    only_fused = replace(output, logits={"emotion": {"fused": output.logits["emotion"]["fused"]}})
    with pytest.raises(ConfigError, match="trains no head of emotion"):
        supervised(only_fused, make_batch(), (EMOTION,), modalities=("text",), all_modalities=BOTH)


def test_trained_views():
    views = ["fused", "speech", "text", "vote"]
    assert trained_views(views, ("speech",), BOTH) == ["speech"]
    assert trained_views(views, BOTH, (*BOTH, "vision")) == views
    assert trained_views(["fused", "speech", "vote"], ("speech",), ("speech",)) == ["fused", "speech", "vote"]


def speech_batch(rows=8):
    torch.manual_seed(0)
    mask = torch.ones(rows, 20, dtype=torch.bool)
    mask[0, 10:] = False
    return Batch(
        inputs={"speech": Track(torch.randn(rows, 20) * mask, mask)},
        targets={"emotion": functional.one_hot(torch.arange(rows) % 2, 2).float()},
        target_mask={"emotion": torch.arange(rows) < rows - 2},
        ids=tuple(map(str, range(rows))),
    )


def test_mixup_mixes_media_and_targets_by_one_share():
    batch = speech_batch()
    torch.manual_seed(3)
    mixed = mixup(batch, 0.4)
    values, targets = batch.inputs["speech"].values, batch.targets["emotion"]
    for row in range(8):
        share, other = solve(mixed.inputs["speech"].values[row], values, row)
        expected = share * targets[row] + (1 - share) * targets[other]
        torch.testing.assert_close(mixed.targets["emotion"][row], expected, atol=1e-4, rtol=0)
        mask = batch.inputs["speech"].mask
        union = mask[row] | mask[other] if other != row else mask[row]
        assert torch.equal(mixed.inputs["speech"].mask[row], union)
    assert not torch.equal(mixed.inputs["speech"].values, values)


def solve(mixed, values, row):
    """The share of `row` and the other row that `mixed` is made of."""
    best = (float("inf"), 1.0, row)
    for other in range(len(values)):
        difference = values[row] - values[other]
        share = (
            1.0 if other == row else float((mixed - values[other]) @ difference / (difference @ difference))
        )
        error = float((share * values[row] + (1 - share) * values[other] - mixed).norm())
        best = min(best, (error, share, other))
    assert best[0] < 1e-4
    return best[1:]


def test_mixup_leaves_rows_of_unlike_labels_and_text_alone():
    batch = speech_batch()
    for seed in range(5):
        torch.manual_seed(seed)
        mixed = mixup(batch, 1.0)
        assert ((mixed.targets["emotion"].sum(dim=1) - 1).abs() < 1e-6).all()
    text = replace(batch, inputs={**batch.inputs, "text": Track(torch.zeros(8, 2), torch.ones(8, 2).bool())})
    assert mixup(text, 1.0) is text
    assert mixup(batch, 0.0) is batch
