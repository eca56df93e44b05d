"""Contrastive losses against their formulas, written out in numpy a row at a time."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from affetto.learn import losses

SCALE = 7.0


def unit(rows: int, seed: int, dim: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(rows, dim, generator=generator, dtype=torch.float64), dim=1)


A, B = unit(5, 1), unit(5, 2)
#: Rows 0 and 3 mean the same, 1 and 4 too; row 2 is alone.
LABELS = torch.tensor([0, 1, 2, 0, 1])
SAME = LABELS[:, None] == LABELS[None]


def softmax_at(scores: np.ndarray, place: int) -> float:
    powers = np.exp(scores - scores.max())
    return float(powers[place] / powers.sum())


def info_nce(a: np.ndarray, b: np.ndarray, positives: np.ndarray) -> float:
    found = []
    for i, query in enumerate(a):
        scores = SCALE * b @ query
        right = np.flatnonzero(positives[i])
        if len(right):
            found.append(np.mean([-np.log(softmax_at(scores, j)) for j in right]))
    return float(np.mean(found))


def test_a_table_of_many_blocks_is_one_table() -> None:
    torch.manual_seed(0)
    a, b = (functional.normalize(torch.randn(n, 8), dim=1).requires_grad_() for n in (300, 170))
    positives = torch.randint(20, (300, 1)) == torch.randint(1, 21, (1, 170))  # some queries have none
    ways = 0.5 * (losses.info_nce(a, b, 9.0, positives) + losses.info_nce(b, a, 9.0, positives.T))
    expected = torch.autograd.grad(ways, (a, b))
    found = losses.symmetric(a, b, 9.0, positives)
    assert found.item() == pytest.approx(ways.item(), rel=1e-5)
    torch.testing.assert_close(torch.autograd.grad(found, (a, b)), expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("positives", [None, SAME])
def test_info_nce_symmetric_and_alternating(positives: torch.Tensor | None) -> None:
    right = np.eye(5, dtype=bool) if positives is None else positives.numpy()
    there, back = info_nce(A.numpy(), B.numpy(), right), info_nce(B.numpy(), A.numpy(), right.T)
    assert losses.info_nce(A, B, SCALE, positives).item() == pytest.approx(there)
    assert losses.symmetric(A, B, SCALE, positives).item() == pytest.approx((there + back) / 2)
    assert losses.alternating(A, B, SCALE, 4, positives).item() == pytest.approx(there)
    assert losses.alternating(A, B, SCALE, 5, positives).item() == pytest.approx(back)


def test_more_keys_than_queries_and_a_query_without_a_positive() -> None:
    keys = unit(7, 3)
    positives = torch.zeros(5, 7, dtype=torch.bool)
    positives[0, 2] = positives[0, 6] = positives[3, 1] = True
    expected = info_nce(A.numpy(), keys.numpy(), positives.numpy())
    assert losses.info_nce(A, keys, SCALE, positives).item() == pytest.approx(expected)


def test_nt_xent_counts_the_own_side_as_wrong() -> None:
    rows = np.concatenate([A, B])
    found = []
    for i in range(10):
        others = [j for j in range(10) if j != i]
        scores = np.array([SCALE * rows[i] @ rows[j] for j in others])
        found.append(-np.log(softmax_at(scores, others.index((i + 5) % 10))))
    assert losses.nt_xent(A, B, SCALE).item() == pytest.approx(np.mean(found))


def test_nt_xent_leaves_out_rows_of_the_own_side_that_mean_the_same() -> None:
    rows, labels = np.concatenate([A, B]), np.tile(LABELS.numpy(), 2)
    found = []
    for i in range(10):
        counted = [j for j in range(10) if i // 5 != j // 5 or labels[i] != labels[j]]
        scores = np.array([SCALE * rows[i] @ rows[j] for j in counted])
        right = [j for j in counted if i // 5 != j // 5 and labels[i] == labels[j]]
        found.append(np.mean([-np.log(softmax_at(scores, counted.index(j))) for j in right]))
    assert losses.nt_xent(A, B, SCALE, SAME).item() == pytest.approx(np.mean(found))


def test_supervised_contrastive_and_its_special_case() -> None:
    x, labels = unit(8, 4), np.array([0, 0, 1, 1, 1, 2, 3, 3])
    found = []
    for i in range(8):
        others = [j for j in range(8) if j != i]
        scores = np.array([SCALE * float(x[i] @ x[j]) for j in others])
        right = [j for j in others if labels[j] == labels[i]]
        if right:
            found.append(np.mean([-np.log(softmax_at(scores, others.index(j))) for j in right]))
    assert losses.supervised_contrastive(x, torch.tensor(labels), SCALE).item() == pytest.approx(
        np.mean(found)
    )
    # One positive per row: the two views of one item.
    pairs = torch.arange(5).repeat(2)
    both = losses.supervised_contrastive(torch.cat([A, B]), pairs, SCALE)
    assert both.item() == pytest.approx(losses.nt_xent(A, B, SCALE).item())


def test_sigmoid_asks_every_pair() -> None:
    bias, total = -3.0, 0.0
    for i in range(5):
        for j in range(5):
            logit = SCALE * float(A[i] @ B[j]) + bias
            total -= np.log(1 / (1 + np.exp(-logit if SAME[i, j] else logit)))
    assert losses.sigmoid_pairwise(A, B, SCALE, bias, SAME).item() == pytest.approx(total / 5)


def test_distance_and_divergence() -> None:
    s, t = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    p_s, p_t = torch.softmax(s, 1).numpy(), torch.softmax(t, 1).numpy()
    distance = ((A - B).numpy() ** 2).sum(1)
    divergence = (p_s * np.log(p_s / p_t)).sum(1)
    expected = np.mean(distance + 0.3 * divergence)
    assert losses.distance_and_divergence(A, B, s, t, 0.3).item() == pytest.approx(expected)


def test_distillation_is_a_divergence_that_teaches_one_side_only() -> None:
    student = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    p = torch.softmax(teacher / 2, 1).detach().numpy()
    q = torch.softmax(student / 2, 1).detach().numpy()
    loss = losses.distillation_loss(student, teacher, temperature=2.0)
    assert loss.item() == pytest.approx(4 * (p * np.log(p / q)).sum(1).mean())
    loss.backward()
    assert teacher.grad is None
    assert losses.distillation_loss(teacher, teacher).item() == pytest.approx(0.0, abs=1e-12)
    assert losses.distilled(torch.tensor(2.0), torch.tensor(5.0), 0.5, 0.1).item() == pytest.approx(1.5)


@pytest.mark.parametrize(
    "loss",
    [
        lambda a, none: losses.symmetric(a, B, SCALE, none),
        lambda a, none: losses.nt_xent(a, B, SCALE, none),
        lambda a, none: losses.supervised_contrastive(a, torch.arange(5), SCALE),
        lambda a, none: losses.sigmoid_pairwise(a[:0], B, SCALE, 0.0, none[:0]),
        lambda a, none: losses.distance_and_divergence(a[:0], B[:0], a[:0], B[:0], 1.0),
    ],
)
def test_a_batch_without_a_positive_costs_nothing(loss) -> None:
    a = A.clone().requires_grad_()
    value = loss(a, torch.zeros(5, 5, dtype=torch.bool))
    value.backward()
    assert value.item() == 0.0
    assert torch.equal(a.grad, torch.zeros_like(a))


def test_rows_that_do_not_pair_up_are_refused() -> None:
    with pytest.raises(ValueError, match="5 rows and 4"):
        losses.info_nce(A, B[:4], SCALE)


# --- many processes ---

RANK = """
import sys, torch
from torch import distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from affetto.learn import losses, ranks

rank, port = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)

def model():
    torch.manual_seed(0)
    return nn.Linear(4, 3, bias=False).double()

def loss(a, b):
    return losses.symmetric(*(ranks.gather_rows(functional.normalize(x, dim=1), 5) for x in (a, b)), 5.0)

torch.manual_seed(1)
x, y = torch.randn(5, 4).double(), torch.randn(5, 4).double()
own = ranks.share(5)
shared = DistributedDataParallel(model())
found = loss(*shared(torch.stack([x[own], y[own]])))
found.backward()
whole = model()
distributed.destroy_process_group()
expected = loss(*whole(torch.stack([x, y])))
expected.backward()
assert torch.allclose(found, expected), (found, expected)
assert torch.allclose(shared.module.weight.grad, whole.weight.grad, atol=1e-12)
print("equal")
"""


def test_two_processes_get_the_loss_and_gradients_of_one() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), port], env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    for process in ranks:
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors[-2000:]
        assert out.strip() == "equal"
