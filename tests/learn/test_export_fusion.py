"""Every form through the export of a bundle: ONNX says what torch says, for any batch, length and subset."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from affetto.bundle import FUSION
from affetto.learn.config import FusionConfig, ModelConfig, SpeechConfig, TaskConfig, TextConfig, VisionConfig
from affetto.learn.export.onnx import export_fusion, named
from affetto.learn.export.parity import TOLERANCE
from affetto.learn.export.parts import Parts
from affetto.learn.fusion import FUSIONS
from affetto.learn.models.build import build_recogniser
from affetto.learn.models.recogniser import Recogniser
from affetto.records import MODALITIES, Track

pytestmark = pytest.mark.usefixtures("quick_export")
DIM = 8
SUBSETS = [s for n in range(1, 4) for s in itertools.combinations(MODALITIES, n)]


def tiny(fusion: str, vote: str | None = None) -> Recogniser:
    """Its gates no longer at zero, so that all that it can hear matters."""
    torch.manual_seed(1)
    config = ModelConfig(
        dim=DIM,
        speech=SpeechConfig(n_mels=16, channels=(4, 4), layers=1),
        text=TextConfig(name="words", vocab_size=30, width=DIM),
        vision=VisionConfig(size=32, channels=(4,), blocks=1),
        fusion=FusionConfig(fusion, tokens=2, steps=5, rank=2, layers=1, heads=2, vote=vote),  # type: ignore[arg-type]
        tasks=(TaskConfig("emotion", labels=("joyful", "other", "sad")),),
    )
    model = build_recogniser(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith(".gate") or "modulation" in name:
            nn.init.constant_(parameter, 0.7)
    return model


def track(rows: int, steps: int, *, timed: bool) -> Track:
    """The last row is shorter, and with times its second step has none."""
    mask = torch.ones(rows, steps, dtype=torch.bool)
    mask[-1, steps // 2 + 1 :] = False
    times = torch.rand(rows, steps).sort(dim=1).values * 3
    times[-1, 1:2] = torch.nan
    return Track(torch.randn(rows, steps, DIM), mask, times if timed else None)


@pytest.mark.slow
@pytest.mark.parametrize("fusion", [name for name in FUSIONS if name != "prefix"])
def test_onnx_says_what_torch_says(fusion: str) -> None:
    model = tiny(fusion)
    # The encoders' places are taken by parts that are never run.
    runner = Parts(dict.fromkeys((*MODALITIES, FUSION), export_fusion(model)))
    for subset, rows, timed in itertools.product(SUBSETS, (1, 3), (False, True)):
        lengths = {"speech": 11, "text": 4, "vision": 1} if rows == 1 else dict.fromkeys(MODALITIES, 6)
        tracks = {name: track(rows, lengths[name], timed=timed) for name in subset}
        with torch.inference_mode():
            expected = named(model.fuse(tracks))
        arrays = {
            n: Track(t.values.numpy(), t.mask.numpy(), None if t.times is None else t.times.numpy())
            for n, t in tracks.items()
        }
        for name, found in runner.fuse(arrays).items():
            assert np.abs(found - expected[name].numpy()).max() <= TOLERANCE, (subset, rows, timed, name)


@pytest.mark.slow
def test_a_validated_vote_keeps_its_scores() -> None:
    model = tiny("late", "validated")
    model.votes["emotion"].weigh({"speech": 0.3, "text": 0.1})  # type: ignore[operator]
    runner = Parts(dict.fromkeys((*MODALITIES, FUSION), export_fusion(model)))
    tracks = {name: track(2, 3, timed=False) for name in MODALITIES}
    found = runner.fuse({n: Track(t.values.numpy(), t.mask.numpy()) for n, t in tracks.items()})
    np.testing.assert_allclose(found["emotion.weights"], [[0.75, 0.25, 0.0]] * 2, atol=1e-5)
