import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from affetto.errors import ConfigError
from affetto.learn.config import TaskConfig
from affetto.learn.models.recogniser import Output
from affetto.learn.training.objectives import task_losses, trained_views
from affetto.learn.training.task_weights import FixedWeights
from affetto.records import Batch

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


def supervised(output, batch, tasks, **settings):
    """The sum that a stage with fixed task weights makes of the losses."""
    losses = task_losses(output, batch, tasks, **settings)
    return FixedWeights(tasks)(losses, [])


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
