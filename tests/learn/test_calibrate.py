"""Vector scaling takes the place of the temperature where it foresees people left out, and nowhere else."""

import numpy as np
import pytest

from affetto.bundle import Calibration, VectorScale
from affetto.evaluation.calibration import apply_temperature, apply_vector_scaling, fit_vector_scaling
from affetto.learn.export.calibrate import (
    Labelled,
    fit_calibration,
    prefers_vectors,
    refitted,
    without_vectors,
)
from affetto.learn.export.card import Card
from affetto.learn.export.parts import Parts
from affetto.learn.export.writer import with_calibration
from affetto.predictor import Predictor

PEOPLE = [name for name in "abcde" for _ in range(80)]


def answers(biases, seed=0):
    """Logits [N 4] whose softmax with the bias [4] of their person is true of it, and classes drawn from that."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.standard_normal((len(PEOPLE), 4))
    true = apply_temperature(logits + np.repeat(biases, 80, axis=0), 1.0)
    return logits, np.stack([rng.multinomial(1, row) for row in true]).astype(float)


SHARED = np.tile([0.9, -0.9, 0.5, -0.5], (5, 1))
OWN = np.array([np.roll([1.2, -0.4, -0.4, -0.4], i) for i in range(4)] + [[-1.0, 1.0, -1.0, 1.0]])


@pytest.mark.parametrize("seed", range(3))
def test_what_people_share_is_scaled_by_class_and_what_they_do_not_is_not(seed):
    assert prefers_vectors(*answers(SHARED, seed), PEOPLE)
    assert not prefers_vectors(*answers(OWN, seed), PEOPLE)


def test_what_helps_most_people_and_harms_the_hardest_is_not_done():
    biases = 1.6 * SHARED
    biases[4] = -0.8 * biases[0]  # the last one is the other way round
    assert not prefers_vectors(*answers(biases), PEOPLE)
    assert prefers_vectors(*answers(np.vstack([biases[:4], 0 * biases[4:]])), PEOPLE)


def test_too_few_people_or_nobody_known_prove_nothing():
    logits, targets = answers(SHARED)
    assert prefers_vectors(logits[:240], targets[:240], PEOPLE[:240])
    assert not prefers_vectors(logits[:160], targets[:160], PEOPLE[:160])
    assert not prefers_vectors(logits, targets, [*PEOPLE[:-1], None])


def misread(people):
    """The plain bundle's words furious and gloomy (logit 4): of people for whom the first is mostly disgust."""
    truth = {2: np.array([0.2, 0.7, 0, 0, 0.1, 0, 0]), 4: np.array([0, 0.1, 0, 0, 0, 0.9, 0])}
    return [
        Labelled({"text": np.array([word])}, {"emotion": truth[word]}, person)
        for person in people
        for word in (2, 4)
        for _ in range(20)
    ]


def test_a_bundle_answers_by_the_vectors_that_were_fitted(plain_bundle, tmp_path):
    fitted = fit_calibration(plain_bundle, misread("abc"), coverage=1.0)
    text = fitted["int8"]["emotion"]["text"]
    assert set(text.vectors) == set(text.temperatures) == {"vote", "text", "fused"}
    parts = Parts(
        {name: plain_bundle.read_part(name, "int8") for name in ("speech", "text", "vision", "fusion")}
    )
    items = misread("abc")
    logits = np.stack(
        [parts.fuse(tracks)["emotion.vote"][0] for tracks in parts.encode_items(i.inputs for i in items)]
    )
    scale, bias = fit_vector_scaling(logits, np.stack([item.targets["emotion"] for item in items]))
    assert text.vectors["vote"] == VectorScale(scale=tuple(scale), bias=tuple(bias))
    shares = apply_vector_scaling(logits, scale, bias)
    assert text.abstain_below == pytest.approx(shares.max(axis=1).min())
    calibration = refitted(plain_bundle.info.calibration, fitted)
    answer = Predictor(with_calibration(plain_bundle, tmp_path / "b", calibration, Card())).predict(
        text="furious"
    )
    assert answer.emotion == "disgust"
    assert [*answer.probabilities.values()] == pytest.approx(shares[0], abs=1e-12)
    assert [*answer.modalities["text"].probabilities.values()] == pytest.approx(shares[0], abs=1e-12)


@pytest.mark.parametrize("people", [("a", "b"), (None,), ("a", "b", "c", None)])
def test_without_people_to_leave_out_temperatures_stay(plain_bundle, people):
    text = fit_calibration(plain_bundle, misread(people))["int8"]["emotion"]["text"]
    assert set(text.temperatures) == {"vote", "text", "fused"}
    assert text.vectors == {}


def told_by(person, truth, **more):
    """Twenty items of a person who says "gloomy", each with the class that it is true of."""
    share = {"emotion": np.eye(7)[truth]}
    return [Labelled({"text": np.array([4])}, share, person, **more) for _ in range(20)]


def test_what_was_composed_of_several_people_is_the_persons_by_speech_alone(plain_bundle):
    def temperature(*some):
        fitted = fit_calibration(plain_bundle, [item for items in some for item in items])
        text = fitted["int8"]["emotion"]["text"]
        assert text.vectors == {}
        return text.temperatures["text"]

    told = [("a", 5), ("a", 5), ("b", 2)]  # right, right, wrong
    nobodys = temperature(*(told_by(None, truth) for _, truth in told))
    assert temperature(*(told_by(name, truth) for name, truth in told)) > nobodys
    assert temperature(*(told_by(name, truth, composed=True) for name, truth in told)) == nobodys


def test_heads_that_moved_keep_their_temperatures_alone():
    lean = VectorScale(scale=(1.0, 2.0), bias=(0.0, 0.5))
    both = Calibration(temperatures={"vote": 2.0}, vectors={"vote": lean}, abstain_below=0.3)
    alone = Calibration(temperatures={"vote": 2.0}, abstain_below=0.3)
    found = without_vectors(
        {"int8": {"emotion": {"speech": both, "text": both, "speech+text": both}, "tone": {"speech": both}}},
        ["emotion"],
        ["speech"],
    )
    assert found == {
        "int8": {"emotion": {"speech": alone, "text": both, "speech+text": alone}, "tone": {"speech": both}}
    }
