import numpy as np
import pytest
import torch
from torch.nn import functional

from affetto.errors import ConfigError
from affetto.learn.losses import (
    binary_cross_entropy,
    concordance_loss,
    cosine_distance,
    distillation_loss,
    effective_number,
    gradient_balance,
    inverse_frequency,
    similarity_loss,
    soft_cross_entropy,
    symmetric_divergence,
)

ROWS, CLASSES = 6, 4


@pytest.fixture
def logits():
    return torch.randn(ROWS, CLASSES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def shares():
    values = torch.rand(ROWS, CLASSES, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return values / values.sum(dim=1, keepdim=True)


def test_soft_cross_entropy_equals_torch_on_distributions(logits, shares):
    expected = functional.cross_entropy(logits, shares)
    torch.testing.assert_close(soft_cross_entropy(logits, shares), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_soft_cross_entropy_equals_torch_on_classes_with_weights(logits, smoothing):
    classes = torch.tensor([0, 1, 2, 3, 3, 0])
    one_hot = functional.one_hot(classes, CLASSES).to(logits)
    ours = soft_cross_entropy(logits, one_hot, smoothing=smoothing)
    torch.testing.assert_close(ours, functional.cross_entropy(logits, classes, label_smoothing=smoothing))
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    ours = soft_cross_entropy(logits, one_hot, class_weights=weights)
    torch.testing.assert_close(ours, functional.cross_entropy(logits, classes, weight=weights))


def test_binary_cross_entropy_equals_torch(logits):
    targets = (logits > 0.3).double()
    expected = functional.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(binary_cross_entropy(logits, targets), expected)
    smoothed = functional.binary_cross_entropy_with_logits(logits, targets * 0.9 + 0.05)
    torch.testing.assert_close(binary_cross_entropy(logits, targets, smoothing=0.1), smoothed)


def test_binary_cross_entropy_weighs_questions(logits):
    targets, weights = torch.zeros_like(logits), torch.tensor([1.0, 0.0, 0.0, 3.0]).double()
    losses = functional.softplus(logits)
    expected = (losses[:, 0].mean() + 3 * losses[:, 3].mean()) / 4
    torch.testing.assert_close(binary_cross_entropy(logits, targets, class_weights=weights), expected)


def test_concordance_loss_follows_its_definition():
    x, y = torch.tensor([1.0, 2.0, 4.0, 3.0]), torch.tensor([1.5, 1.0, 3.0, 3.5])
    covariance = np.cov(x, y, bias=True)[0, 1]
    ccc = 2 * covariance / (np.var(x.numpy()) + np.var(y.numpy()) + float(x.mean() - y.mean()) ** 2)
    assert concordance_loss(x[:, None], y).item() == pytest.approx(1 - ccc, abs=1e-6)
    assert concordance_loss(y, y).item() == pytest.approx(0.0, abs=1e-6)
    assert concordance_loss(-y, y).item() > 1.0


def test_concordance_loss_is_finite_without_spread():
    flat = torch.full((3,), 2.0, requires_grad=True)
    loss = concordance_loss(flat, torch.full((3,), 2.0))
    loss.backward()
    assert loss.item() == pytest.approx(0.0)
    assert torch.isfinite(flat.grad).all()


@pytest.mark.parametrize("loss", [soft_cross_entropy, binary_cross_entropy])
def test_masked_rows_do_not_count_even_when_not_finite(loss, logits, shares):
    mask = torch.tensor([True, True, False, True, False, True])
    expected = loss(logits[mask], shares[mask])
    logits[2] = torch.nan
    logits.requires_grad_()
    result = loss(logits, shares, mask)
    torch.testing.assert_close(result.detach(), expected)
    result.backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[~mask] == 0).all()


@pytest.mark.parametrize("loss", [soft_cross_entropy, binary_cross_entropy])
def test_no_row_at_all_costs_zero_and_has_a_gradient(loss, logits, shares):
    logits.requires_grad_()
    result = loss(logits, shares, torch.zeros(ROWS, dtype=torch.bool))
    result.backward()
    assert result.item() == 0.0
    assert (logits.grad == 0).all()


def test_dimension_without_two_rows_costs_zero():
    predictions = torch.randn(3, 1, requires_grad=True)
    loss = concordance_loss(predictions, torch.rand(3), torch.tensor([False, True, False]))
    loss.backward()
    assert loss.item() == 0.0


def test_inverse_frequency():
    weights = inverse_frequency([10, 20, 0, 40])
    assert weights[0] == pytest.approx(2 * weights[1]) == pytest.approx(4 * weights[3])
    assert weights[2] == 0.0
    assert weights[[0, 1, 3]].mean() == pytest.approx(1.0)


def test_effective_number_lies_between_its_limits():
    counts = [10, 1000]
    expected = np.array([(1 - 0.99) / (1 - 0.99**n) for n in counts])
    np.testing.assert_allclose(effective_number(counts, 0.99), expected / expected.mean())
    np.testing.assert_allclose(effective_number(counts, 0.0), [1.0, 1.0])
    np.testing.assert_allclose(effective_number(counts, 1 - 1e-9), inverse_frequency(counts), rtol=1e-5)


def test_balance_refuses_what_is_no_count():
    for counts in ([1, -1], [np.nan, 1], [[1, 2]]):
        with pytest.raises(ConfigError, match="class counts"):
            inverse_frequency(counts)
    with pytest.raises(ConfigError, match="beta"):
        effective_number([1, 2], beta=1.0)


# --- focal losses ---


def test_focal_cross_entropy_is_the_formula(logits):
    classes = torch.tensor([0, 1, 2, 3, 3, 0])
    p = logits.softmax(dim=1)[torch.arange(ROWS), classes]
    expected = (-((1 - p) ** 2.0) * p.log()).mean()
    one_hot = functional.one_hot(classes, CLASSES).to(logits)
    torch.testing.assert_close(soft_cross_entropy(logits, one_hot, focus=2.0), expected)


def test_focal_binary_cross_entropy_is_the_formula(logits):
    targets = (torch.arange(ROWS * CLASSES).view(ROWS, CLASSES) % 3 == 0).to(logits)
    p = torch.where(targets > 0, logits.sigmoid(), 1 - logits.sigmoid())
    expected = (-((1 - p) ** 1.5) * p.log()).mean()
    torch.testing.assert_close(binary_cross_entropy(logits, targets, focus=1.5), expected)


@pytest.mark.parametrize("loss", [soft_cross_entropy, binary_cross_entropy])
@pytest.mark.parametrize("focus", [0.5, 2.0])
def test_focal_losses_have_finite_gradients_where_the_answer_is_certain(loss, focus):
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    loss(logits, torch.tensor([[1.0, 0.0], [1.0, 0.0]]), focus=focus).backward()
    assert torch.isfinite(logits.grad).all()


def test_focal_loss_with_effective_numbers_is_that_of_cui(logits):
    """Cui et al. 2019 with focal loss: each row by its class's weight, normalised by the weights of the batch."""
    classes = torch.tensor([0, 1, 2, 3, 3, 0])
    counts = np.array([100, 10, 50, 5])
    raw = (1 - 0.99) / (1 - 0.99**counts)
    weights = torch.from_numpy(raw / raw.mean())
    p = logits.softmax(dim=1)[torch.arange(ROWS), classes]
    w = weights[classes]
    expected = (w * -((1 - p) ** 2) * p.log()).sum() / w.sum()
    found = soft_cross_entropy(
        logits,
        functional.one_hot(classes, CLASSES).to(logits),
        class_weights=torch.from_numpy(effective_number(counts, 0.99)),
        focus=2.0,
    )
    torch.testing.assert_close(found, expected)


# --- agreement ---


def test_symmetric_divergence_of_classes_is_the_mean_of_both_kl(logits):
    other = logits.flip(0) * 0.5
    p, q = logits.log_softmax(dim=1), other.log_softmax(dim=1)
    both = [functional.kl_div(a, b, reduction="batchmean", log_target=True) for a, b in ((p, q), (q, p))]
    torch.testing.assert_close(symmetric_divergence(logits, other), sum(both) / 2)


def test_symmetric_divergence_of_questions_and_of_values(logits):
    other = logits.flip(0) * 0.5
    p, q = torch.distributions.Bernoulli(logits=logits), torch.distributions.Bernoulli(logits=other)
    kl = torch.distributions.kl_divergence
    expected = ((kl(p, q) + kl(q, p)) / 2).sum(dim=1).mean()
    torch.testing.assert_close(symmetric_divergence(logits, other, kind="multi-label"), expected)
    p, q = torch.distributions.Normal(logits[:, :1], 1.0), torch.distributions.Normal(other[:, :1], 1.0)
    found = symmetric_divergence(logits[:, :1], other[:, :1], kind="dimension")
    torch.testing.assert_close(found, ((kl(p, q) + kl(q, p)) / 2).mean())


def test_agreement_counts_the_masked_rows_alone(logits):
    mask = torch.tensor([True, False, True, False, False, False])
    other = logits.flip(0).clone()
    other[1] = torch.nan
    for loss in (symmetric_divergence, cosine_distance):
        assert loss(logits, other, mask) == loss(logits[mask], other[mask])
    guess = logits.clone().requires_grad_()
    nothing = symmetric_divergence(guess, other, torch.zeros(ROWS, dtype=torch.bool))
    nothing.backward()
    assert nothing == 0.0
    assert (guess.grad == 0).all()


def test_a_guess_moves_towards_the_truth_and_not_the_other_way(logits):
    guess, truth = logits.clone().requires_grad_(), (2 * logits.flip(0)).requires_grad_()
    loss = cosine_distance(guess, truth)
    torch.testing.assert_close(loss, (1 - functional.cosine_similarity(guess, truth)).mean())
    loss.backward()
    assert truth.grad is None
    assert cosine_distance(3 * truth, truth).item() == pytest.approx(0.0, abs=1e-12)


# --- gradient norms ---


def test_balanced_gradients_meet_the_objective_of_gradnorm():
    norms, ratios = np.array([1.0, 4.0, 0.5]), np.array([0.9, 0.3, 0.6])
    weights = gradient_balance(norms, ratios, alpha=1.5)
    assert weights.mean() == pytest.approx(1.0)
    pulls = weights * norms
    goals = (ratios / ratios.mean()) ** 1.5
    np.testing.assert_allclose(pulls / goals, (pulls / goals)[0])


def test_distillation_equals_torch_and_vanishes_for_equal_answers(logits):
    other = logits.flip(0)
    expected = functional.kl_div(
        functional.log_softmax(logits / 3, -1), functional.softmax(other / 3, -1), reduction="batchmean"
    )
    torch.testing.assert_close(distillation_loss(logits, other, temperature=3.0), 9 * expected)
    assert distillation_loss(logits, logits + 5.0).abs() < 1e-12
    mask = torch.tensor([True] * 3 + [False] * 3)
    torch.testing.assert_close(
        distillation_loss(logits, other, mask), distillation_loss(logits[:3], other[:3])
    )
    assert distillation_loss(logits, other, mask & False) == 0.0


def test_similarity_asks_for_the_same_neighbours_whatever_the_width(logits):
    turned = logits @ torch.linalg.qr(torch.randn(CLASSES, CLASSES, dtype=torch.float64)).Q
    wider = torch.cat([turned, torch.zeros(ROWS, 3, dtype=torch.float64)], dim=1)
    assert similarity_loss(logits, 7.0 * wider) < 1e-12
    two = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # Cosine 0 against 1 in two of four pairs.
    assert similarity_loss(two, torch.ones(2, 1)) == pytest.approx(0.5)
    assert similarity_loss(two, torch.ones(2, 1), torch.tensor([True, False])) == 0.0
