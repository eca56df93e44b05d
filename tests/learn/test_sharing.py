"""What tasks share before their heads, and adversaries: formulas first, then whole models."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from affetto.learn.config import (
    FusionConfig,
    ModelConfig,
    SharingConfig,
    SpeechConfig,
    TaskConfig,
    TextConfig,
)
from affetto.learn.decoders import HEADS, SHARINGS
from affetto.learn.decoders.heads import AdversarialHead, LinearHead
from affetto.learn.decoders.sharing import CrossStitch, Experts, Hard, Tied
from affetto.learn.export.onnx import export_fusion, named
from affetto.learn.layers.reversal import reversal_strength, reverse_gradient
from affetto.learn.models.build import build_recogniser, resolve
from affetto.learn.models.recogniser import Recogniser
from affetto.predictor import open_session
from affetto.records import Track

TASKS = ("emotion", "gender", "speaker")
DIM = 6


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(5, DIM)


def test_hard_sharing_is_one_trunk(x: torch.Tensor) -> None:
    form = Hard(TASKS, DIM, layers=2).eval()
    found = form(x)
    assert set(found) == set(TASKS)
    layer = form.trunk[0]
    first = x + nn.functional.gelu(layer.linear(layer.norm(x)))
    torch.testing.assert_close(found["gender"], form.trunk[1](first))
    assert found["emotion"] is found["speaker"]


def test_cross_stitch_begins_as_tasks_alone(x: torch.Tensor) -> None:
    form = CrossStitch(TASKS, DIM, layers=3).eval()
    for task, found in form(x).items():
        torch.testing.assert_close(found, form.trunks[task](x))


def test_cross_stitch_mixes_by_its_numbers(x: torch.Tensor) -> None:
    form = CrossStitch(("a", "b"), DIM, layers=1).eval()
    with torch.no_grad():
        form.stitches.copy_(torch.rand(1, 2, 2, DIM))
    alone = {task: trunk(x) for task, trunk in form.trunks.items()}
    expected = form.stitches[0, 1, 0] * alone["a"] + form.stitches[0, 1, 1] * alone["b"]
    torch.testing.assert_close(form(x)["b"], expected)


def test_tied_trunks_pay_for_their_distance(x: torch.Tensor) -> None:
    form = Tied(TASKS, DIM, layers=1, tie=0.5).eval()
    assert form.penalty() == 0.0
    torch.testing.assert_close(form(x)["emotion"], form(x)["gender"])
    with torch.no_grad():
        form.trunks["gender"][0].linear.bias += 2.0
    assert form.penalty().item() == pytest.approx(0.5 * 2 * DIM * 4.0)  # gender against each of two others


@pytest.mark.parametrize(("tie", "one"), [(0.0, False), (40.0, True)])
def test_a_strong_tie_makes_trunks_one(x: torch.Tensor, tie: float, one: bool) -> None:
    """Two tasks that ask the opposite of each other pull their trunks apart, unless they are tied."""
    form = Tied(("a", "b"), DIM, layers=1, dropout=0.0, tie=tie)
    optimizer = torch.optim.SGD(form.parameters(), lr=0.005)
    for _ in range(100):
        made = form(x)
        loss = made["a"].mean() - made["b"].mean() + form.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    apart = float((form(x)["a"] - form(x)["b"]).detach().abs().max())
    assert (apart < 0.02) is one


def test_experts_are_mixed_by_each_tasks_gate(x: torch.Tensor) -> None:
    form = Experts(TASKS, DIM, experts=3).eval()
    shares = form.shares(x)
    for task in TASKS:
        torch.testing.assert_close(shares[task].sum(dim=-1), torch.ones(5))
        expected = sum(shares[task][:, i, None] * expert(x) for i, expert in enumerate(form.experts))
        torch.testing.assert_close(form(x)[task], expected)
    assert not torch.allclose(shares["emotion"], shares["gender"])


@pytest.mark.parametrize("name", SHARINGS)
def test_steps_of_a_track_are_shared_as_vectors_are(name: str) -> None:
    form = resolve(SHARINGS, name, "sharing")(TASKS, DIM).eval()
    steps = torch.randn(2, 4, DIM)
    torch.testing.assert_close(form(steps)["speaker"][:, 1], form(steps[:, 1])["speaker"])


# --- gradient reversal ---


def test_reversal_passes_forward_and_turns_the_gradient() -> None:
    x = torch.randn(3, requires_grad=True)
    y = reverse_gradient(x, 0.5)
    assert torch.equal(x, y)
    (y * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([-0.5, -1.0, -1.5]))


def test_the_schedule_rises_from_zero() -> None:
    assert reversal_strength(0.0) == 0.0
    assert reversal_strength(0.5) == pytest.approx(2 / (1 + math.exp(-5)) - 1)
    assert 0.9999 < reversal_strength(1.0) < 1.0


@pytest.mark.parametrize("name", [name for name in HEADS if name != "probe"])  # a probe teaches nothing
def test_an_adversary_learns_what_its_reader_unlearns(name: str) -> None:
    head = resolve(HEADS, name, "head")(8, 3).eval()
    adversary = AdversarialHead(head, peak=2.0)
    adversary.set_progress(1.0)
    gradients = []
    for reader in (head, adversary):
        vector = torch.ones(2, 8, requires_grad=True)
        steps = torch.ones(2, 4, 8, requires_grad=True)
        head.zero_grad()
        reader(vector, Track(steps, torch.ones(2, 4, dtype=torch.bool)))[:, 0].sum().backward()
        source = steps if head.reads_track else vector
        gradients.append((source.grad, [p.grad.clone() for p in head.parameters()]))
    (plain, own), (reversed_, same) = gradients
    torch.testing.assert_close(reversed_, -2.0 * reversal_strength(1.0) * plain)
    torch.testing.assert_close(same, own)


# --- in a whole model ---

EMOTION = TaskConfig("emotion", labels=("anger", "joy", "neutral"))
GENDER = TaskConfig("gender", labels=("female", "male"), views=("fused", "speech"))
TOPICS = TaskConfig("topics", "multi-label", ("a", "b"), head="queries")
SPEAKER = TaskConfig("speaker", "identity", ("x/1", "x/2"))
NO_LANGUAGE = TaskConfig("language", labels=("en", "de"), adversarial=1.0)


def config(sharing: SharingConfig | None, *tasks: TaskConfig) -> ModelConfig:
    return ModelConfig(
        dim=8,
        speech=SpeechConfig(n_mels=16, channels=(4, 4), width=8, layers=1),
        text=TextConfig("words", vocab_size=30, width=8),
        fusion=FusionConfig("concat"),
        sharing=sharing,
        tasks=tasks or (EMOTION, GENDER, TOPICS, SPEAKER, NO_LANGUAGE),
    )


def media(rows: int = 3) -> dict[str, Track]:
    return {
        "speech": Track(torch.randn(rows, 4000) * 0.1, torch.ones(rows, 4000, dtype=torch.bool)),
        "text": Track(torch.randint(0, 30, (rows, 5)), torch.ones(rows, 5, dtype=torch.bool)),
    }


def model_with(name: str, *tasks: TaskConfig) -> Recogniser:
    model = build_recogniser(config(SharingConfig(name, layers=2, experts=2), *tasks))
    with torch.no_grad():  # what begins as identity or as equal must not stay so, or it is not tested
        for parameter in model.sharing.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("name", SHARINGS)
def test_heads_read_what_the_form_gives_their_task(name: str) -> None:
    model = model_with(name).eval()
    inputs = media()
    views = model.fusion(model.encode(inputs))
    shared = model.sharing["speech"](views.vectors["speech"])
    expected = model.heads["gender"]["speech"](shared["gender"])
    torch.testing.assert_close(model(inputs).logits["gender"]["speech"], expected)
    track = views.tracks["speech"]
    steps = replace(track, values=model.sharing["speech"](track.values)["topics"])
    expected = model.heads["topics"]["speech"](shared["topics"], steps)
    torch.testing.assert_close(model(inputs).logits["topics"]["speech"], expected)
    assert set(model.sharing["text"](views.vectors["text"])) == {"emotion", "topics", "speaker", "language"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARINGS)
def test_onnx_says_what_torch_says(name: str) -> None:
    model = model_with(name).eval()
    session = open_session(export_fusion(model), "fusion", 1)
    for rows, lengths in ((1, {"speech": 1, "text": 4}), (3, {"speech": 6, "text": 2})):
        tracks = {m: Track(torch.randn(rows, n, 8), torch.rand(rows, n) > 0.3) for m, n in lengths.items()}
        with torch.inference_mode():
            expected = named(model.fuse(tracks))
        feeds = {f"{m}_values": track.values.numpy() for m, track in tracks.items()}
        feeds |= {f"{m}_mask": track.mask.numpy() for m, track in tracks.items()}
        for output, answer in zip(expected, session.run(list(expected), feeds), strict=True):
            np.testing.assert_allclose(answer, expected[output].numpy(), atol=1e-4, err_msg=output)


@pytest.mark.parametrize("name", SHARINGS)
def test_a_task_that_costs_nothing_moves_no_trunk_of_another(name: str) -> None:
    """Only what emotion reads gets a gradient from emotion: trunks of others stay, but for the stitches."""
    model = model_with(name, EMOTION, replace(GENDER, views=None)).train()
    model(media()).logits["emotion"]["vote"][:, 0].sum().backward()
    moved = {n for n, p in model.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
    assert not any(n.startswith("heads.gender") for n in moved)
    others = {n for n in moved if ".trunks.gender" in n or ".gates.gender" in n}
    assert bool(others) is (name == "cross-stitch")


def test_private_tasks_answer_in_training_alone() -> None:
    model = build_recogniser(config(None))
    assert set(model.train()(media()).logits) == {"emotion", "gender", "topics", "speaker", "language"}
    output = model.eval()(media())
    assert set(output.logits) == {"emotion", "gender", "topics"}
    assert not any(name.startswith(("speaker", "language")) for name in named(output))


def test_only_adversaries_hear_of_progress() -> None:
    model = build_recogniser(config(None))
    model.set_progress(1.0)
    assert isinstance(model.heads["language"]["text"], AdversarialHead)
    assert model.heads["language"]["text"].strength == pytest.approx(reversal_strength(1.0))
    assert isinstance(model.heads["emotion"]["text"], LinearHead)


def test_the_penalty_of_a_model_is_that_of_its_forms() -> None:
    assert build_recogniser(config(None)).penalty() == 0.0
    model = model_with("tied")
    expected = sum(form.penalty() for form in model.sharing.values())
    assert expected > 0
    torch.testing.assert_close(model.penalty(), expected)
