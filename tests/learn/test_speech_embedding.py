"""The published speech embedding, against a network of its form run by ONNX Runtime on windows of its own log-mel."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from affetto.errors import ConfigError
from affetto.features.spectral import mel_filterbank
from affetto.learn.config import BackboneConfig, ModelConfig, SpeechConfig, TaskConfig
from affetto.learn.export.writer import _portable
from affetto.learn.models.build import build_recogniser
from affetto.records import Track

WINDOW, STEP, BANDS = 76, 8, 32
#: Channels, and the pooling of time and mel after every second convolution, as they were published.
POOLS = {2: (2, 2), 6: (1, 2), 10: (2, 2), 14: (1, 2), 18: (2, 2)}
CHANNELS = (24, 24, 24, 48, 48, 48, 48, 72, 72, 72, 72, 96, 96, 96, 96, 96, 96, 96, 96, 96)


def published(path: Path) -> Path:
    """A file of the published form with random weights: [N 76 32 1] to [N 1 1 96]."""
    rng = np.random.default_rng(0)
    nodes, tensors = [], []

    def tensor(name: str, values: np.ndarray) -> str:
        tensors.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def convolution(i: int, x: str, before: int, kernel: tuple[int, int], padding: int, bias: bool) -> str:
        scale = (before * kernel[0] * kernel[1]) ** -0.5
        inputs = [x, tensor(f"weight{i}", scale * rng.standard_normal((CHANNELS[i], before, *kernel)))]
        inputs += [tensor(f"bias{i}", 0.3 * rng.standard_normal(CHANNELS[i]))] if bias else []
        nodes.append(helper.make_node("Conv", inputs, [f"conv{i}"], pads=[0, padding, 0, padding]))
        return f"conv{i}"

    def activation(x: str) -> str:
        nodes.append(helper.make_node("LeakyRelu", [x], [f"{x}_leaky"], alpha=0.2))
        nodes.append(helper.make_node("Max", [f"{x}_leaky", "least"], [f"{x}_active"]))
        return f"{x}_active"

    tensor("least", np.array(-0.4))
    nodes.append(helper.make_node("Transpose", ["input_1"], ["planes"], perm=[0, 3, 1, 2]))
    x = convolution(0, "planes", 1, (3, 3), 1, False)
    nodes.append(helper.make_node("Relu", [x], ["rectified"]))
    norm = [tensor(name, rng.uniform(0.5, 1.5, 24)) for name in ("weight", "bias", "mean", "variance")]
    nodes.append(helper.make_node("BatchNormalization", ["rectified", *norm], ["normed"], epsilon=1e-3))
    x = activation("normed")
    for i in range(1, 19):
        kernel, padding = ((1, 3), 1) if i % 2 else ((3, 1), 0)
        x = activation(convolution(i, x, CHANNELS[i - 1], kernel, padding, True))
        if i in POOLS:
            pool = POOLS[i]
            nodes.append(helper.make_node("MaxPool", [x], [f"pool{i}"], kernel_shape=pool, strides=pool))
            x = f"pool{i}"
    x = convolution(19, x, 96, (3, 1), 0, False)
    graph = helper.make_graph(
        nodes, "embedding",
        [helper.make_tensor_value_info("input_1", TensorProto.FLOAT, [None, WINDOW, BANDS, 1])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, None)],
        tensors,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


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
    return published(tmp_path_factory.mktemp("published") / "embedding_model.onnx")


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
