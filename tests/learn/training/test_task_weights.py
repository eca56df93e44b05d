"""lambda_t: as given, learned from uncertainty, balanced by gradient norm; on losses whose answer is known."""

import pytest
import torch

from affetto.learn.config import TaskConfig
from affetto.learn.training.task_weights import TASK_WEIGHTS

A = TaskConfig("a", labels=("x", "y"), weight=2.0)
B = TaskConfig("b", "dimension")
ADVERSARY = TaskConfig("who", labels=("x", "y"), weight=0.5, adversarial=1.0)


def run(weighing, losses_of, steps, lr=0.05):
    """Let the weighing see losses of `shared` for some steps; its own parameters learn, `shared` does not."""
    parameters = list(weighing.parameters())
    optimizer = torch.optim.Adam(parameters, lr=lr) if parameters else None
    for _ in range(steps):
        shared = torch.tensor([1.0, 1.0], requires_grad=True)
        loss = weighing(losses_of(shared), [shared])
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return weighing.shares()


def test_fixed_weights_are_those_given():
    losses = {"a": torch.tensor(3.0), "b": torch.tensor(5.0)}
    weighing = TASK_WEIGHTS["fixed"]([A, B])
    assert weighing(losses, []).item() == 11.0
    assert weighing.shares() == {"a": 2.0, "b": 1.0}


def test_uncertainty_begins_with_the_losses_as_they_are():
    losses = {"a": torch.tensor(3.0), "b": torch.tensor(5.0)}
    assert TASK_WEIGHTS["uncertainty"]([A, B])(losses, []).item() == 11.0


def test_uncertainty_of_a_loss_that_stands_still_is_known():
    weighing = TASK_WEIGHTS["uncertainty"]([A, B])
    shares = run(weighing, lambda x: {"a": 0.25 * x[0], "b": 4.0 * x[1]}, 400)
    assert shares["a"] == pytest.approx(2.0 * 1 / (2 * 0.25), rel=0.01)  # given weight times 1 / (2 L)
    assert shares["b"] == pytest.approx(1 / (2 * 4.0), rel=0.01)


def test_gradients_are_balanced_where_their_norms_are_equal():
    # Both tasks stand still, so both learn at one pace: the weights only even out the gradients, 1 and 9.
    weighing = TASK_WEIGHTS["gradnorm"]([TaskConfig("a", labels=("x", "y")), B])
    shares = run(weighing, lambda x: {"a": x[0], "b": 9.0 * x[1]}, 400)
    assert shares["a"] + shares["b"] == pytest.approx(2.0)
    assert shares["a"] * 1.0 == pytest.approx(shares["b"] * 9.0, rel=0.01)


def test_a_task_that_learns_slowly_is_listened_to_more():
    weighing = TASK_WEIGHTS["gradnorm"]([TaskConfig("a", labels=("x", "y")), B])
    pace = iter(0.99**step for step in range(300))
    shares = run(weighing, lambda x: {"a": x[0] * next(pace) + 0 * x[1], "b": x[1]}, 300)
    assert shares["b"] > 1.5 > shares["a"]


@pytest.mark.parametrize("name", ["uncertainty", "gradnorm"])
def test_a_task_without_labels_moves_no_weight(name):
    weighing = TASK_WEIGHTS[name]([A, B])
    shares = run(weighing, lambda x: {"a": 3.0 * x[0], "b": 0.0 * x[1]}, 20)
    assert shares["b"] == 1.0
    missing = TASK_WEIGHTS[name]([A, B])
    shared = torch.tensor([1.0, 1.0], requires_grad=True)
    missing({"a": shared[0], "b": 0.0 * shared[1]}, [shared]).backward()
    assert shared.grad[1] == 0.0


@pytest.mark.parametrize("name", ["uncertainty", "gradnorm"])
def test_an_adversary_keeps_its_weight(name):
    weighing = TASK_WEIGHTS[name]([A, B, ADVERSARY])
    shares = run(weighing, lambda x: {"a": x[0], "b": 7.0 * x[1], "who": 5.0 * x[0]}, 50)
    assert shares["who"] == 0.5
    assert shares["b"] != 1.0


def test_gradient_norms_without_anything_shared_leave_the_weights():
    weighing = TASK_WEIGHTS["gradnorm"]([A, B])
    frozen = torch.ones(2)
    assert weighing({"a": frozen[0], "b": frozen[1]}, [frozen]).item() == 3.0
    assert weighing.shares() == {"a": 2.0, "b": 1.0}
