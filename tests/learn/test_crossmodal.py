"""Words that read the frames of their own time: the formula, what must not matter, a task that needs it."""

from __future__ import annotations

import itertools
import math

import onnx
import pytest
import torch
from torch import Tensor, nn

from affetto.bundle import FUSION
from affetto.errors import ConfigError
from affetto.learn.config import FusionConfig, ModelConfig, SpeechConfig, TaskConfig, TextConfig
from affetto.learn.export.onnx import FusionPart, export_fusion, named
from affetto.learn.export.parts import Parts
from affetto.learn.export.quantise import quantise_dynamic
from affetto.learn.fusion.crossmodal import Crossmodal
from affetto.learn.fusion.views import FUSED, Views
from affetto.learn.layers.alignment import REACH, AlignedAttention, time_gaps
from affetto.learn.models.build import build_recogniser
from affetto.learn.models.recogniser import Recogniser
from affetto.records import MODALITIES, Track

pytestmark = pytest.mark.usefixtures("quick_export")
DIM = 8
STEP = 0.4  # seconds from frame to frame
SUBSETS = [s for n in range(1, 4) for s in itertools.combinations(MODALITIES, n)]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def opened(module: nn.Module) -> nn.Module:
    """In evaluation, its gates no longer at zero."""
    for part in module.modules():
        if isinstance(part, AlignedAttention):
            nn.init.constant_(part.gate, 0.7)
    return module.eval()


def form(**sizes: int) -> nn.Module:
    return opened(Crossmodal(MODALITIES, DIM, **{"tokens": 2, "layers": 2, "heads": 2, **sizes}))


def timed_tracks(rows: int = 3) -> dict[str, Track]:
    """Speech on a clock, words somewhere on it, pictures now and then; the last row's words have no times."""
    found = {}
    for name, steps in zip(MODALITIES, (9, 5, 2), strict=True):
        mask = torch.arange(steps)[None] < torch.randint(2, steps + 1, (rows, 1))
        times = torch.rand(rows, steps).sort(dim=1).values * 4
        found[name] = Track(torch.randn(rows, steps, DIM) * mask[..., None], mask, times)
    found["text"].times[-1] = torch.nan
    return found


def with_times(tracks: dict[str, Track], change) -> dict[str, Track]:
    return {name: Track(t.values, t.mask, change(t.times)) for name, t in tracks.items()}


def same(first: Views, second: Views) -> None:
    for view in first.vectors:
        torch.testing.assert_close(first.vectors[view], second.vectors[view], atol=1e-5, rtol=0)


# --- the layer ---


def test_gaps_are_seconds_up_to_the_reach_and_zero_where_unknown() -> None:
    asks, answers = torch.tensor([[1.0, torch.nan, 50.0]]), torch.tensor([[1.5, 0.0, torch.nan]])
    expected = torch.tensor([[[0.5, 1.0, 0.0], [0.0, 0.0, 0.0], [REACH, REACH, 0.0]]])
    assert torch.equal(time_gaps(asks, answers), expected)
    assert time_gaps(None, answers) is None
    assert time_gaps(asks, None) is None


@torch.no_grad()
def test_it_is_the_formula() -> None:
    layer = opened(AlignedAttention(DIM, 2))
    x, memory = torch.randn(1, 3, DIM), torch.randn(1, 4, DIM)
    asks, answers = torch.tensor([0.2, 1.0, torch.nan]), torch.tensor([0.0, 0.4, 0.8, 1.2])
    mask = torch.tensor([[True, True, True, False]])
    found = layer(x, memory, mask, time_gaps(asks[None], answers[None]))[0]
    inner, half = layer.attention, DIM // 2
    q = inner.query(layer.query_norm(x[0]))
    k, v = (project(layer.memory_norm(memory[0])) for project in (inner.key, inner.value))
    for i in range(3):
        heads = []
        for h in range(2):
            part = slice(h * half, (h + 1) * half)
            scores = []
            for j in range(3):  # the last frame is padding
                gap = 0.0 if torch.isnan(asks[i]) else abs(float(asks[i] - answers[j]))
                slope = (4.0, 2.0)[h]
                scores.append(float(q[i, part] @ k[j, part]) / half**0.5 - slope * gap)
            weights = torch.tensor(scores).softmax(dim=0)
            heads.append(weights @ v[:3, part])
        expected = x[0, i] + math.tanh(0.7) * inner.out(torch.cat(heads))
        torch.testing.assert_close(found[i], expected, atol=1e-5, rtol=0)


def test_queries_pass_through_at_first_and_without_memory() -> None:
    layer = AlignedAttention(DIM, 2).eval()
    x, memory, mask = torch.randn(2, 3, DIM), torch.randn(2, 4, DIM), torch.ones(2, 4, dtype=torch.bool)
    gaps = torch.rand(2, 3, 4)
    assert torch.equal(layer(x, memory, mask, gaps), x)
    mask[1] = False
    found = opened(layer)(x, memory, mask, gaps)
    assert torch.equal(found[1], x[1])
    assert (found[0] - x[0]).abs().max() > 1e-3


def test_unknown_times_teach_nothing_false() -> None:
    """The trap of NaN: where it is masked away after the product, the gradient is NaN all the same."""
    layer = opened(AlignedAttention(DIM, 2))
    memory, times = torch.randn(1, 4, DIM), torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    asks = torch.tensor([[0.5, torch.nan, torch.nan]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    layer(torch.randn(1, 3, DIM), memory, mask, time_gaps(asks, times)).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


# --- the form ---


def test_times_matter() -> None:
    whole, fusion = timed_tracks(), form()
    views, plain = fusion(whole), fusion(with_times(whole, lambda times: None))
    difference = (views.vectors[FUSED] - plain.vectors[FUSED]).abs().amax(dim=1)
    assert (difference[:2] > 1e-5).all()
    assert difference[2] < 1e-6  # its words have no times


def test_a_shift_of_all_times_changes_nothing() -> None:
    whole, fusion = timed_tracks(), form()
    same(fusion(whole), fusion(with_times(whole, lambda times: times + 7.0)))


def test_unknown_times_are_plain_attention() -> None:
    whole, fusion = timed_tracks(), form()
    plain = fusion(with_times(whole, lambda times: None))
    same(plain, fusion(with_times(whole, lambda times: torch.full_like(times, torch.nan))))
    same(plain, fusion({**whole, "text": Track(whole["text"].values, whole["text"].mask)}))
    # Words of another window, far from every frame, are as good as words without a time.
    text = whole["text"]
    same(plain, fusion({**whole, "text": Track(text.values, text.mask, torch.full_like(text.times, 99.0))}))


def test_frames_may_come_in_any_order() -> None:
    whole, fusion = timed_tracks(), form()
    order = torch.randperm(9)
    speech = whole["speech"]
    shuffled = Track(speech.values[:, order], speech.mask[:, order], speech.times[:, order])
    same(fusion(whole), fusion({**whole, "speech": shuffled}))


@pytest.mark.parametrize("subset", SUBSETS)
def test_alone_is_batched_in_every_subset(subset: tuple[str, ...]) -> None:
    whole, fusion = {name: timed_tracks()[name] for name in subset}, form()
    together = fusion(whole)
    for row in range(3):
        alone = {}
        for name, track in whole.items():
            cut = (slice(row, row + 1), slice(0, int(track.mask[row].sum())))
            alone[name] = Track(track.values[cut], track.mask[cut], track.times[cut])
        single = fusion(alone)
        for view in fusion.views:
            assert torch.isfinite(single.vectors[view]).all()
            torch.testing.assert_close(
                together.vectors[view][row], single.vectors[view][0], atol=1e-5, rtol=0
            )


def test_a_new_form_hears_nothing_yet() -> None:
    whole, fusion = timed_tracks(), Crossmodal(MODALITIES, DIM, heads=2).eval()
    text_alone = fusion({"text": whole["text"]})
    assert torch.equal(fusion(whole).vectors[FUSED], text_alone.vectors[FUSED])


def test_without_text_there_is_nobody_to_ask() -> None:
    with pytest.raises(ValueError, match="text"):
        Crossmodal(("speech", "vision"), DIM)
    with pytest.raises(ConfigError, match="crossmodal"):
        build_recogniser(
            ModelConfig(dim=8, speech=SpeechConfig(n_mels=16), fusion=FusionConfig(name="crossmodal"))
        )
    text_alone = Crossmodal(("text",), DIM, heads=2)
    assert text_alone.timed == ()


# --- what it is for ---


def spoken(rows: int, generator: torch.Generator) -> tuple[dict[str, Track], Tensor]:
    """12 frames of +1 or -1 and three words, the first of them stressed: the class is its frame's sign."""
    frames, words = 12, 3
    speech, text = torch.zeros(rows, frames, DIM), torch.zeros(rows, words, DIM)
    speech[..., 0] = torch.randint(0, 2, (rows, frames), generator=generator) * 2.0 - 1.0
    text[:, 0, 1], text[:, 1:, 2] = 1.0, 1.0
    at = torch.rand(rows, frames, generator=generator).argsort(dim=1)[:, :words]
    order = torch.rand(rows, words, generator=generator).argsort(dim=1)
    truth = (speech[torch.arange(rows), at[:, 0], 0] > 0).long()
    text = text.gather(1, order[..., None].expand_as(text))
    clock = (torch.arange(frames) * STEP).expand(rows, -1)
    return {
        "speech": Track(speech, torch.ones(rows, frames, dtype=torch.bool), clock),
        "text": Track(text, torch.ones(rows, words, dtype=torch.bool), at.gather(1, order) * STEP),
    }, truth


def accuracy(*, timed: bool) -> float:
    """Of a small form trained for a moment, on fresh clips."""
    generator = torch.Generator().manual_seed(0)
    fusion = Crossmodal(("speech", "text"), DIM, tokens=1, layers=1, heads=2, dropout=0.0)
    head = nn.Linear(DIM, 2)
    optimiser = torch.optim.Adam([*fusion.parameters(), *head.parameters()], 1e-2)

    def answer(rows: int) -> tuple[Tensor, Tensor]:
        tracks, truth = spoken(rows, generator)
        if not timed:
            tracks = with_times(tracks, lambda times: None)
        return head(fusion(tracks).vectors[FUSED]), truth

    for _ in range(80):
        loss = nn.functional.cross_entropy(*answer(64))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        logits, truth = answer(500)
    return float((logits.argmax(dim=1) == truth).float().mean())


def test_it_hears_how_the_stressed_word_was_said() -> None:
    """Frames do not say when they were: only the times tell which of the twelve is the stressed word's."""
    assert accuracy(timed=True) > 0.95
    torch.manual_seed(0)
    assert accuracy(timed=False) < 0.75


# --- exported ---


@pytest.fixture(scope="module")
def model() -> Recogniser:
    torch.manual_seed(1)
    config = ModelConfig(
        dim=DIM,
        speech=SpeechConfig(n_mels=16, channels=(4, 4), layers=1),
        text=TextConfig(name="words", vocab_size=300, width=DIM),
        fusion=FusionConfig(name="crossmodal", tokens=2, layers=1, heads=2),
        tasks=(TaskConfig("emotion", labels=("joyful", "other")),),
    )
    return opened(build_recogniser(config))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def exported(model: Recogniser) -> bytes:
    return export_fusion(model)


def parts(exported: bytes, model: Recogniser) -> Parts:
    """The fusion alone; the encoders' places are taken by parts that are never run."""
    return Parts(dict.fromkeys((*model.modalities, FUSION), exported))


def test_names_of_what_goes_in(exported: bytes, model: Recogniser) -> None:
    names = [i.name for i in onnx.load_from_string(exported).graph.input]
    assert names == ["speech_values", "speech_mask", "text_values", "text_mask", "speech_times", "text_times"]
    assert names == FusionPart(model).inputs


@pytest.mark.parametrize("times", ["some", "none"])
def test_onnx_says_what_torch_says(exported: bytes, model: Recogniser, times: str) -> None:
    runner = parts(exported, model)
    for subset in (("speech", "text"), ("speech",), ("text",)):
        whole = {name: timed_tracks(4)[name] for name in subset}
        if times == "none":
            whole = with_times(whole, lambda times: None)
        with torch.inference_mode():
            expected = named(model.fuse(whole))
        found = runner.fuse(
            {
                n: Track(t.values.numpy(), t.mask.numpy(), None if t.times is None else t.times.numpy())
                for n, t in whole.items()
            }
        )
        for name, value in expected.items():
            assert found[name] == pytest.approx(value.numpy(), abs=1e-4), name


def test_it_fits_into_eight_bits(exported: bytes) -> None:
    small = quantise_dynamic(exported)
    assert small.quantised > 0
    assert not small.left
