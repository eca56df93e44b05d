from itertools import pairwise

import pytest
import torch
from torch import nn

from affetto.errors import ConfigError
from affetto.learn.training.optimisation import (
    AveragedWeights,
    freeze,
    learning_rate,
    parameter_groups,
    set_training_mode,
)


def make_model():
    torch.manual_seed(0)
    return nn.ModuleDict(
        {
            "encoder": nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)),
            "encoder2": nn.Linear(4, 4),
            "head": nn.Linear(4, 2),
        }
    )


def test_matrices_decay_and_vectors_do_not():
    model = make_model()
    decaying, rest = parameter_groups(model, 0.1)
    assert [group["weight_decay"] for group in (decaying, rest)] == [0.1, 0.0]
    assert {parameter.ndim for parameter in decaying["params"]} == {2}
    assert {parameter.ndim for parameter in rest["params"]} == {1}
    assert len(decaying["params"]) + len(rest["params"]) == len(list(model.parameters()))


def test_frozen_parameters_are_in_no_group():
    model = make_model()
    freeze(model, ("encoder",))
    ids = {id(p) for group in parameter_groups(model, 0.1) for p in group["params"]}
    assert ids == {id(p) for name in ("encoder2", "head") for p in model[name].parameters()}


def test_the_rate_rises_then_falls_to_zero():
    rates = [learning_rate(step, 100, 1.0, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([(k + 1) / 10 for k in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert all(a >= b for a, b in pairwise(rates[10:]))
    assert 0 < rates[-1] < 0.001
    assert learning_rate(0, 1, 1.0, 0.0) == 1.0


def test_freezing_is_undone_by_the_next_stage_and_wrong_names_are_refused():
    model = make_model()
    freeze(model, ("encoder", "head"))
    assert [p.requires_grad for p in model["encoder2"].parameters()] == [True, True]
    assert not any(p.requires_grad for name in ("encoder", "head") for p in model[name].parameters())
    freeze(model, ())
    assert all(p.requires_grad for p in model.parameters())
    with pytest.raises(ConfigError, match=r"'encoders'.*encoder\.0.*head"):
        freeze(model, ("encoders",))
    with pytest.raises(ConfigError, match="leaves nothing to train"):
        freeze(model, ("encoder", "encoder2", "head"))


def test_frozen_modules_stay_in_evaluation_mode():
    model = make_model()
    set_training_mode(model, ("encoder",))
    assert not any(module.training for module in model["encoder"].modules())
    assert model["encoder2"].training
    assert model["head"].training


def test_averaged_weights_follow_their_definition():
    model = nn.Linear(1, 1, bias=False)
    average = AveragedWeights(model, 0.9)
    expected = model.weight.item()
    for step in range(1, 30):
        with torch.no_grad():
            model.weight.fill_(float(step))
        average.update(model)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    with average.applied(model):
        assert model.weight.item() == pytest.approx(expected, rel=1e-5)
    assert model.weight.item() == 29.0


def test_averages_take_running_statistics_along_and_leave_frozen_weights():
    model = make_model()
    freeze(model, ("head",))
    average = AveragedWeights(model, 0.5)
    names = set(average.state()["average"])
    assert "encoder.1.running_mean" in names
    assert "encoder.1.num_batches_tracked" not in names
    assert not any(name.startswith("head") for name in names)


def test_averages_go_on_from_a_saved_state():
    model = make_model()
    first = AveragedWeights(model, 0.9)
    first.update(model)
    second = AveragedWeights(make_model(), 0.9)
    second.load(first.state())
    for average in (first, second):
        with torch.no_grad():
            model["head"].weight.fill_(1.0)
        average.update(model)
    for name, value in first.state()["average"].items():
        assert torch.equal(value, second.state()["average"][name])


def test_schedules_follow_their_definitions():
    def rates(schedule):
        return [learning_rate(step, 100, 1.0, 0.1, schedule) for step in range(100)]

    assert rates("linear")[10] == 1.0
    assert rates("linear")[55] == pytest.approx(0.5)
    assert rates("linear")[-1] == pytest.approx(1 / 90)
    assert set(rates("constant")[10:]) == {1.0}
    cycle = rates("one-cycle")
    assert cycle[0] == pytest.approx(0.04)
    assert cycle[5] == pytest.approx(0.52)
    assert cycle[10] == 1.0
    assert cycle[55] == pytest.approx(0.5, abs=1e-5)
    assert cycle[-1] < 0.001


def test_what_a_module_fixes_never_learns():
    model = make_model()
    model["encoder"].fixed = frozenset({"0.weight"})
    freeze(model, ())
    assert not model["encoder"][0].weight.requires_grad
    assert model["encoder"][0].bias.requires_grad
