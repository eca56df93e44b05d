"""The published speech embedding, against a network of its form run by ONNX Runtime on windows of its own log-mel."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from affetto.errors import ConfigError
from affetto.features.spectral import mel_filterbank
from affetto.learn.config import BackboneConfig, ModelConfig, SpeechConfig, TaskConfig
from affetto.learn.export.onnx import export_parts
from affetto.learn.export.writer import _portable
from affetto.learn.models.build import build_recogniser
from affetto.records import Track
from backbones import SPEECH_WINDOW as WINDOW
from backbones import write_speech_network

STEP, BANDS = 8, 32


def log_mel(waveform: np.ndarray) -> np.ndarray:
    """[T 32] as the published front end has it: decibels of 16-bit samples within 80 of the loudest, over 10, and 2."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    starts = range(0, len(waveform) - 399, 160)
    frames = np.stack([32768.0 * waveform[s : s + 400] * window for s in starts])
    power = np.abs(np.fft.rfft(frames, 512)) ** 2
    energies = power @ mel_filterbank(BANDS, 512, 16000, 60.0, 3800.0).astype(np.float64).T
    decibels = 10 * np.log10(np.maximum(energies, 1e-10))
    return np.maximum(decibels, decibels.max() - 80) / 10 + 2


def config(weights: Path) -> ModelConfig:
    speech = SpeechConfig("speech_embedding", weights=str(weights))
    return ModelConfig(dim=96, speech=speech, tasks=(TaskConfig("emotion", labels=("a", "b")),))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_speech_network(tmp_path_factory.mktemp("published") / "embedding_model.onnx")


@pytest.fixture(scope="module")
def waveform() -> np.ndarray:
    rng = np.random.default_rng(1)
    return (0.1 * rng.standard_normal(20000) * np.abs(np.sin(np.arange(20000) / 3000))).astype(np.float32)


def hears(encoder: torch.nn.Module, *rows: np.ndarray) -> Track:
    longest = max(map(len, rows))
    values, mask = torch.full((len(rows), longest), 7.0), torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        values[i, : len(row)], mask[i, : len(row)] = torch.from_numpy(row), True
    with torch.no_grad():
        return encoder(Track(values, mask))


def inner(encoder: torch.nn.Module, waveform: np.ndarray) -> Track:
    values = torch.from_numpy(waveform)[None]
    with torch.no_grad():
        return encoder.inner(Track(values, torch.ones_like(values, dtype=torch.bool)))


def test_every_frame_is_what_the_published_network_says_of_its_window(weights: Path, waveform) -> None:
    encoder = build_recogniser(config(weights)).eval().encoders["speech"]
    track = hears(encoder, waveform)
    heard = log_mel(np.pad(waveform, (WINDOW // 2 * 160, (WINDOW // 2 + STEP) * 160)))
    windows = np.stack([heard[s : s + WINDOW] for s in range(0, len(heard) - WINDOW + 1, STEP)])
    session = onnxruntime.InferenceSession(weights)
    (expected,) = session.run(None, {"input_1": windows[..., None].astype(np.float32)})
    expected = expected.reshape(len(windows), 96)[: track.mask.shape[1]]
    assert track.mask.all()
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(track.values[0].numpy(), expected, atol=1e-4)
    assert encoder.rate == 12.5
    assert torch.allclose(track.times[0].diff(), torch.tensor(0.08))


def test_alone_equals_batched_at_every_length(weights: Path, waveform) -> None:
    encoder = build_recogniser(config(weights)).eval().encoders["speech"]
    rows = [waveform, waveform[:300], waveform[5000:14000]]
    together = hears(encoder, *rows)
    for i, row in enumerate(rows):
        single = hears(encoder, row)
        real = int(together.mask[i].sum())
        assert real == int(single.mask.sum()) > 0
        torch.testing.assert_close(together.values[i, :real], single.values[0, :real], atol=1e-4, rtol=0)
        assert not together.values[i, real:].any()


def test_inner_layers_end_with_the_embedding_and_stand_at_its_moments(weights: Path, waveform) -> None:
    encoder = build_recogniser(config(weights)).eval().encoders["speech"]
    before, said = inner(encoder, waveform), hears(encoder, waveform)
    assert before.values.shape == (1, said.values.shape[1], 312)
    assert torch.equal(before.values[..., -96:], said.values)
    assert torch.equal(before.times, said.times)
    clicked = waveform.copy()
    clicked[9880:9920] += 0.2
    changed = (inner(encoder, clicked).values - before.values).abs()[0]
    # Means of the middle layers see 0.2 to 0.5 s: where they see the click is centred on it.
    for layer in (changed[:, :48], changed[:, 48:120], changed[:, 120:216]):
        seen = before.times[0][layer.sum(dim=1) > 1e-6]
        assert (seen.min() + seen.max()) / 2 == pytest.approx(9900 / 16000, abs=0.05)


def test_weights_that_follow_need_no_file(weights: Path, waveform, tmp_path: Path) -> None:
    model = build_recogniser(config(weights)).eval()
    twin = build_recogniser(config(tmp_path / "gone.onnx"), forms={}).eval()
    twin.load_state_dict(model.state_dict())
    first, second = (hears(m.encoders["speech"], waveform).values for m in (model, twin))
    assert torch.equal(first, second)


def test_a_bundle_names_no_file_that_its_weights_came_from(weights: Path) -> None:
    kept = _portable(config(weights))
    assert kept.speech is not None
    assert kept.speech.weights is None
    assert kept.speech.name == "speech_embedding"


def test_what_is_not_that_network_is_refused(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        build_recogniser(config(tmp_path / "gone.onnx"))
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ConfigError, match="not the published speech embedding"):
        build_recogniser(config(tmp_path / "text.onnx"))
    shorter = onnx.load(weights)
    shorter.graph.node.pop()
    onnx.save(shorter, tmp_path / "short.onnx")
    with pytest.raises(ConfigError, match="not the published speech embedding"):
        build_recogniser(config(tmp_path / "short.onnx"))
    for other, backbone in (("cnn", None), ("pretrained", BackboneConfig("nowhere"))):
        speech = SpeechConfig(other, weights=str(weights), backbone=backbone)
        with pytest.raises(ConfigError, match="only speech_embedding"):
            build_recogniser(ModelConfig(speech=speech))


@pytest.mark.usefixtures("quick_export")
def test_its_part_hears_any_number_of_clips_of_any_length(weights: Path, waveform) -> None:
    model = build_recogniser(config(weights)).eval()
    session = onnxruntime.InferenceSession(export_parts(model, picture=None)["speech"])
    for rows, samples in ((3, 9000), (1, 20000), (2, 200)):
        values = np.repeat(waveform[None, :samples], rows, axis=0)
        found, _ = session.run(None, {"waveform": values, "mask": np.ones(values.shape, dtype=bool)})
        expected = hears(model.encoders["speech"], *values).values.numpy()
        np.testing.assert_allclose(found, expected, atol=1e-3)
