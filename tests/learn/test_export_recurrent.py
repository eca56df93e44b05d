"""A GRU as one ONNX operator: what torch says, at any length and batch."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from affetto.learn.encoders.frontend import SpecAugment, SpeechFrontEnd
from affetto.learn.encoders.speech import SpeechCrnn
from affetto.learn.export.onnx import EncoderPart, _export
from affetto.learn.export.recurrent import GruOperator, with_gru_operators
from affetto.predictor import open_session
from affetto.records import Track

pytestmark = pytest.mark.usefixtures("quick_export")
LENGTHS = ((400,), (16_000,), (9000, 16_000, 1), (8000, 0))  # samples; 0 is a row without speech


@pytest.fixture(scope="module")
def encoder() -> SpeechCrnn:
    torch.manual_seed(0)
    augment = SpecAugment(frequency_masks=0, frequency_width=0, time_masks=0, time_seconds=0.0)
    front_end = SpeechFrontEnd(16, 0.2, augment)
    return SpeechCrnn(6, front_end, channels=(4, 4), width=8, layers=2).eval()


@pytest.fixture(scope="module")
def exported(encoder: SpeechCrnn) -> bytes:
    mask = torch.arange(8000)[None] < torch.tensor([[8000], [4000]])
    part = EncoderPart(with_gru_operators(encoder))
    return _export(part, [torch.randn(2, 8000), mask], ["waveform", "mask"], ["values", "mask_out"])


def test_onnx_says_what_torch_says(encoder: SpeechCrnn, exported: bytes) -> None:
    session = open_session(exported, "speech", 1)
    for lengths in LENGTHS:
        waveform = torch.randn(len(lengths), max(lengths)) / 10
        mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
        with torch.inference_mode():
            expected = encoder(Track(waveform, mask))
        values, frames = session.run(None, {"waveform": waveform.numpy(), "mask": mask.numpy()})
        assert np.array_equal(frames, expected.mask.numpy())
        assert np.abs(values - expected.values.numpy()).max() < 1e-4, lengths


def test_each_direction_of_each_layer_is_one_operator(exported: bytes) -> None:
    grus = [node for node in onnx.load_from_string(exported).graph.node if node.op_type == "GRU"]
    assert len(grus) == 4
    assert all(a.i == 1 for gru in grus for a in gru.attribute if a.name == "linear_before_reset")


def test_the_model_itself_is_left_alone(encoder: SpeechCrnn) -> None:
    before = [name for name, part in encoder.named_modules() if isinstance(part, nn.GRU)]
    twin = with_gru_operators(encoder)
    assert len(before) == 4
    assert [name for name, part in encoder.named_modules() if isinstance(part, nn.GRU)] == before
    assert [name for name, part in twin.named_modules() if isinstance(part, GruOperator)] == before
    plain = nn.Sequential(nn.Linear(2, 2))
    assert with_gru_operators(plain) is plain


@pytest.mark.parametrize(
    "gru",
    [
        nn.GRU(2, 2, num_layers=2, batch_first=True),
        nn.GRU(2, 2, bidirectional=True, batch_first=True),
        nn.GRU(2, 2),
        nn.GRU(2, 2, bias=False, batch_first=True),
    ],
)
def test_other_grus_are_refused(gru: nn.GRU) -> None:
    with pytest.raises(ValueError, match="one layer"):
        with_gru_operators(nn.Sequential(gru))
