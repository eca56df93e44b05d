"""Corrections of low rank: nothing at first, no more than their rank, into the weights in the end."""

import torch
from torch import nn

from affetto.learn.layers.low_rank import add_corrections, merge_corrections
from affetto.learn.training.optimisation import freeze


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Embedding(20, 8), nn.Linear(8, 6), nn.Unflatten(1, (6, 1)), nn.Conv1d(6, 4, 3, padding=1)
    )


def test_rank_biases_and_what_is_left():
    model, words = network(), torch.arange(20)
    before, said = {n: v.clone() for n, v in model.state_dict().items()}, model(words)
    add_corrections(model, 2)
    torch.testing.assert_close(model(words), said)
    freeze(model, ())
    still = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert still == [f"{place}.parametrizations.weight.original" for place in (0, 1, 3)]

    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(5):
        optimiser.zero_grad()
        model(words).square().sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    moved = model(words)
    assert (moved - said).abs().max() > 1e-3

    merge_corrections(model)
    torch.testing.assert_close(model(words), moved)
    after = model.state_dict()
    assert after.keys() == before.keys()
    for name in ("0.weight", "1.weight", "3.weight"):
        change = (after[name] - before[name]).flatten(1)
        assert change.abs().max() > 0
        assert torch.linalg.matrix_rank(change, rtol=1e-4) <= 2
    assert not torch.equal(after["1.bias"], before["1.bias"])
