"""Votes fitted to held-out people: the exponents serve them, and what cannot be told from them stays."""

import numpy as np
import pytest
import torch

from affetto.evaluation.calibration import apply_temperature, fit_temperature, nll
from affetto.learn.config import FusionConfig, ModelConfig, SpeechConfig, TaskConfig, VisionConfig
from affetto.learn.export.calibrate import Labelled
from affetto.learn.export.stacking import fit_votes
from affetto.learn.models.build import build_recogniser
from affetto.learn.models.recogniser import VOTE, Recogniser
from affetto.records import Track

LABELS = ("anger", "happiness", "sadness")
CONFIG = ModelConfig(
    dim=8,
    speech=SpeechConfig(n_mels=16, channels=(4,), layers=0),
    vision=VisionConfig(size=32, channels=(4,), blocks=1),
    fusion=FusionConfig(name="concat", vote="learned"),
    tasks=(TaskConfig("emotion", labels=LABELS), TaskConfig("loud", labels=("no", "yes"), views=("speech",))),
)


@pytest.fixture
def model() -> Recogniser:
    torch.manual_seed(3)
    return build_recogniser(CONFIG).eval()


def asked(model: Recogniser, items) -> dict[str, np.ndarray]:
    """What each view says of the emotion of items of one length: logits [N C]."""
    inputs = {}
    for name in ("speech", "vision"):
        values = torch.from_numpy(np.stack([item[name] for item in items]))
        inputs[name] = Track(values, torch.ones(values.shape[:2], dtype=torch.bool))
    with torch.no_grad():
        return {view: rows.double().numpy() for view, rows in model(inputs).logits["emotion"].items()}


def held_out(model: Recogniser, count: int, *true: str) -> list[Labelled]:
    """Two people's items, true as twice what these views say together."""
    rng = np.random.default_rng(0)
    items = [
        {
            "speech": 0.1 * rng.random() * rng.standard_normal(1600).astype(np.float32),
            "vision": rng.random((1, 3, 32, 32), dtype=np.float32)
            * rng.random((1, 3, 1, 1), dtype=np.float32),
        }
        for _ in range(count)
    ]
    said = asked(model, items)
    truth = apply_temperature(2.0 * sum(said[view] for view in true), 1.0)
    loud = np.array([1.0, 0.0])
    return [
        Labelled(item, {"emotion": shares, "loud": loud}, f"p{i % 2}")
        for i, (item, shares) in enumerate(zip(items, truth, strict=True))
    ]


def test_the_vote_becomes_the_product_of_calibrated_experts(model: Recogniser) -> None:
    some = held_out(model, 200, "speech", "vision")
    truth, people = np.stack([item.targets["emotion"] for item in some]), [item.person for item in some]
    table, loud = (model.votes[task].table.clone() for task in ("emotion", "loud"))
    before = asked(model, [item.inputs for item in some])
    fit_votes(model, some)
    after = asked(model, [item.inputs for item in some])
    _, speech, vision = model.votes["emotion"].table[0b11].tolist()
    apart = [fit_temperature(before[view], truth, people) for view in ("speech", "vision")]
    assert speech / vision == pytest.approx(apart[1] / apart[0], rel=1e-4)
    losses = [nll(apply_temperature(said[VOTE], 1.0), truth) for said in (before, after)]
    assert losses[1] < losses[0]
    assert fit_temperature(after[VOTE], truth, people) == pytest.approx(1.0, abs=0.02)
    assert torch.equal(model.votes["emotion"].table[:3], table[:3])
    assert torch.equal(model.votes["loud"].table, loud)


def test_what_hears_all_together_is_trusted_where_it_alone_is_right(model: Recogniser) -> None:
    fit_votes(model, held_out(model, 200, "fused"))
    fused, speech, vision = model.votes["emotion"].table[0b11].tolist()
    assert fused == pytest.approx(2.0, abs=0.1)
    assert max(speech, vision) < 0.1


def test_answers_without_any_doubt_leave_finite_exponents(model: Recogniser) -> None:
    with torch.no_grad():
        for head in model.heads["emotion"].values():
            for parameter in head.parameters():
                parameter *= 1e4
    some = held_out(model, 200, "speech", "vision")
    fit_votes(model, some)
    fused, speech, vision = model.votes["emotion"].table[0b11].tolist()
    assert np.isfinite([fused, speech, vision]).all()
    assert min(speech, vision) > 0


@pytest.mark.parametrize("change", ["few", "alone"])
def test_without_enough_items_of_several_modalities_votes_stay(model: Recogniser, change: str) -> None:
    some = held_out(model, 199 if change == "few" else 200, "vision")
    if change == "alone":
        some = [Labelled({"speech": item.inputs["speech"]}, item.targets, item.person) for item in some]
    before = model.votes["emotion"].table.clone()
    fit_votes(model, some)
    assert torch.equal(model.votes["emotion"].table, before)
