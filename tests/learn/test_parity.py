"""That the comparison of two forms of a model sees what differs: also what only times bring out, also NaN."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch

from affetto.errors import TrainingError
from affetto.learn.config import FusionConfig, ModelConfig, SpeechConfig, TaskConfig, TextConfig, VisionConfig
from affetto.learn.export import parity
from affetto.learn.export.onnx import export_parts, named
from affetto.learn.export.parity import compare_with_torch, random_items
from affetto.learn.layers.alignment import AlignedAttention
from affetto.learn.models.build import build_recogniser
from affetto.learn.models.recogniser import Recogniser
from affetto.records import MODALITIES, Track

pytestmark = pytest.mark.usefixtures("quick_export")
PICTURE = 32

Change = Callable[[str, np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def model() -> Recogniser:
    """A crossmodal model whose gates are open, so that what it hears matters."""
    torch.manual_seed(1)
    config = ModelConfig(
        dim=8,
        speech=SpeechConfig(n_mels=16, channels=(4, 4), layers=1),
        text=TextConfig(name="words", vocab_size=300, width=8),
        vision=VisionConfig(size=PICTURE, channels=(4,), blocks=1),
        fusion=FusionConfig(name="crossmodal", tokens=2, layers=1, heads=2),
        tasks=(TaskConfig("emotion", labels=("joyful", "other")),),
    )
    made = build_recogniser(config)
    for part in made.modules():
        if isinstance(part, AlignedAttention):
            torch.nn.init.constant_(part.gate, 2.0)
    return made.eval()


@pytest.fixture(scope="module")
def items() -> list:
    """As many as there are subsets, so that each is asked once alone."""
    return random_items(7, modalities=MODALITIES, vocabulary=300, picture=PICTURE)


class TorchParts:
    """What `Parts` is for a bundle, by the model itself: exporting takes long. Notes the times it is given."""

    def __init__(self, model: Recogniser, change: Change = lambda name, times: times) -> None:
        self.modalities, self.model, self.change = model.modalities, model, change
        self.given: list[dict[str, np.ndarray | None]] = []

    def encode(self, name: str, values: np.ndarray, mask: np.ndarray) -> Track:
        """A raw Track to an encoded one, which like that of a part has no times."""
        with torch.inference_mode():
            track = self.model.encoders[name](Track(torch.from_numpy(values), torch.from_numpy(mask)))
        return Track(track.values.numpy(), track.mask.numpy())

    def fuse(self, tracks: Mapping[str, Track]) -> dict[str, np.ndarray]:
        """Encoded Tracks to the outputs by name, times changed on their way."""
        self.given.append({name: track.times for name, track in tracks.items()})
        fed = {}
        for name, track in tracks.items():
            times = np.full(track.mask.shape, np.nan, np.float32) if track.times is None else track.times
            times = self.change(name, times)
            fed[name] = Track(*(torch.from_numpy(x.copy()) for x in (track.values, track.mask, times)))
        with torch.inference_mode():
            return {name: value.numpy() for name, value in named(self.model.fuse(fed)).items()}


@pytest.fixture
def compare(model: Recogniser, items: list, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TorchParts]:
    """Compares parts with the model and returns them."""

    def run(parts: TorchParts) -> TorchParts:
        monkeypatch.setattr(parity, "Parts", lambda models: parts)
        assert compare_with_torch(model, {}, items)["max_abs_difference"] < 1e-5
        return parts

    return run


def refused(compare: Callable[..., TorchParts], parts: TorchParts) -> None:
    with pytest.raises(TrainingError) as caught:
        compare(parts)
    assert caught.value.code == "parity_failed"


@pytest.mark.slow
def test_exported_parts_with_times_say_what_torch_says(model: Recogniser, items: list) -> None:
    found = compare_with_torch(model, export_parts(model, picture=PICTURE), items)
    assert found["max_abs_difference"] < 1e-5


def test_every_batch_is_compared_without_times_and_with_them(
    compare: Callable[..., TorchParts], model
) -> None:
    without, with_times = [], []
    given = compare(TorchParts(model)).given
    for clocks in given:
        unknown = {clock is None for clock in clocks.values()}
        assert len(unknown) == 1
        (without if unknown.pop() else with_times).append(clocks)
    assert [list(clocks) for clocks in without] == [list(clocks) for clocks in with_times]
    spoken = [clocks["speech"] for clocks in with_times if "speech" in clocks]
    assert all(clock[0, 0] == pytest.approx(0.0125) for clock in spoken)  # the encoder's own
    written = [row[~np.isnan(row)] for clocks in with_times if "text" in clocks for row in clocks["text"]]
    assert all((np.diff(row) >= 0).all() for row in written)
    assert max(len(row) for row in written) > 1


def test_a_fusion_that_reads_no_times_is_compared_once(monkeypatch: pytest.MonkeyPatch, items: list) -> None:
    config = ModelConfig(
        dim=8,
        text=TextConfig(name="words", vocab_size=300, width=8),
        tasks=(TaskConfig("emotion", labels=("joyful", "other")),),
    )
    parts = TorchParts(build_recogniser(config).eval())
    monkeypatch.setattr(parity, "Parts", lambda models: parts)
    found = compare_with_torch(parts.model, {}, items)
    assert len(parts.given) == found["batches"]


@pytest.mark.parametrize("answers", ["speech", "vision"])
def test_slopes_that_differ_are_seen(compare: Callable[..., TorchParts], model, answers: str) -> None:
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.fusion.readers[0][answers].slopes.add_(2.0)
    refused(compare, TorchParts(other))


@pytest.mark.parametrize(
    "change",
    [
        lambda name, times: np.full_like(times, np.nan),
        lambda name, times: times + np.float32(0.5 * (name == "text")),
        lambda name, times: times[:, ::-1] if name == "speech" else times,
    ],
    ids=["lost", "shifted", "reversed"],
)
def test_times_that_do_not_arrive_as_they_are_are_seen(
    compare: Callable[..., TorchParts], model, change: Change
) -> None:
    refused(compare, TorchParts(model, change))


def test_an_answer_that_is_no_number_is_no_parity(compare: Callable[..., TorchParts], model) -> None:
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.heads["emotion"]["text"].out.bias[0] = torch.nan
    refused(compare, TorchParts(other))
