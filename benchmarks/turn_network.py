"""The speech network that the package pipecat-ai carries, as a folder that opens as any pretrained backbone.

Smart Turn v3.2 (Daily, BSD-2-Clause) hears in up to 8 s of speech, in 23 languages, whether somebody has finished
speaking. It is the encoder of Whisper tiny (Radford et al. 2023, MIT) trained further, 8 million weights, kept as
ONNX in int8. Here they become floats again, and its own head is left out.

    pip download pipecat-ai==1.14.0 --no-deps
    unzip -j pipecat_ai-1.14.0-*.whl "*/smart-turn-v3.2-cpu.onnx"
    python benchmarks/turn_network.py smart-turn-v3.2-cpu.onnx -o turn_network
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx.numpy_helper import to_array
from onnxruntime import InferenceSession
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

from affetto.features.spectral import RATE

_ENCODER = "inner.encoder."
_HEAD = 64  # values of an attention head, in every Whisper
_STEPS = 50  # of the encoder per second


class Network:
    """The ONNX graph of a Whisper encoder whose weights are quantised, each beside its scale."""

    def __init__(self, path: Path) -> None:
        graph = onnx.load(path).graph
        self.nodes = list(graph.node)
        self.stored = {tensor.name: to_array(tensor) for tensor in graph.initializer}
        self.made_by = {name: node for node in self.nodes for name in node.output}
        self.read_by = {name: node for node in reversed(self.nodes) for name in node.input}

    def weights(self) -> dict[str, torch.Tensor]:
        """Every weight of the encoder as a float, by its name in transformers."""
        found = dict(self._plain()) | dict(self._convolutions()) | dict(self._projections())
        return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in found.items()}

    def _plain(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        for name, values in self.stored.items():
            if name.startswith(_ENCODER) and name.endswith((".weight", ".bias")):
                yield name.removeprefix(_ENCODER), values

    def _convolutions(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        convolutions = (node for node in self.nodes if node.op_type == "Conv")
        for i, node in enumerate(convolutions, start=1):
            yield f"conv{i}.weight", self._value(node.input[1])
            yield f"conv{i}.bias", self._value(node.input[2])

    def _projections(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """A product with a weight is named by the bias that is added next; only those of the keys have none."""
        layer = 0
        for node in self.nodes:
            if node.op_type != "MatMul" or not self._is_weight(node.input[1]):
                continue
            weight, reader = self._value(node.input[1]).T, self._reader(node.output[0])
            biases = [name for name in reader.input if name.endswith(".bias")]
            if not biases:
                yield f"layers.{layer}.self_attn.k_proj.weight", weight
                layer += 1
            elif biases[0].startswith(_ENCODER):
                yield biases[0].removeprefix(_ENCODER).replace(".bias", ".weight"), weight

    def _is_weight(self, name: str) -> bool:
        node = self.made_by.get(name)
        return node is not None and node.op_type == "DequantizeLinear" and node.input[0] in self.stored

    def _value(self, name: str) -> NDArray[np.float32]:
        node = self.made_by[name]
        values, scale = (self.stored[key].astype(np.float32) for key in node.input[:2])
        zero = self.stored[node.input[2]].astype(np.float32) if len(node.input) > 2 else np.float32(0.0)
        if scale.ndim:
            axis = next((given.i for given in node.attribute if given.name == "axis"), 1)
            shape = [-1 if i == axis else 1 for i in range(values.ndim)]
            scale, zero = scale.reshape(shape), np.broadcast_to(zero, scale.shape).reshape(shape)
        return (values - zero) * scale

    def _reader(self, name: str) -> onnx.NodeProto:
        """The operation that reads a value, behind what rounds it."""
        node = self.read_by[name]
        while node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            node = self.read_by[node.output[0]]
        return node


def write_folder(network: Path, folder: Path) -> None:
    """config.json, model.safetensors and preprocessor_config.json, as transformers reads them.

    Raises LookupError, ValueError or RuntimeError when the file holds another network.
    """
    weights = Network(network).weights()
    width, bands, _ = weights["conv1.weight"].shape
    steps = len(weights["embed_positions.weight"])
    layers = sum(name.endswith("k_proj.weight") for name in weights)
    config = WhisperConfig(
        d_model=width,
        num_mel_bins=bands,
        max_source_positions=steps,
        encoder_layers=layers,
        encoder_attention_heads=max(width // _HEAD, 1),
        encoder_ffn_dim=len(weights["layers.0.fc1.weight"]),
        # Nothing is written with it.
        decoder_layers=0,
        vocab_size=4,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
    )
    torch.manual_seed(0)  # the same file every time: a resumed run refuses another
    model = WhisperModel(config)
    model.encoder.load_state_dict(weights)
    model.save_pretrained(folder)
    extractor = WhisperFeatureExtractor(feature_size=bands, chunk_length=steps // _STEPS, do_normalize=True)
    extractor.save_pretrained(folder)


def agreement(network: Path, folder: Path) -> float:
    """Mean correlation, feature by feature, of what both find in a made sound after the first layer.

    The file rounds what it computes, too, so that it is not 1.
    """
    time = np.arange(8 * RATE) / RATE
    pitch = 2 * np.pi * 150 * (time + 0.05 * np.sin(4 * time))
    voice = sum(np.sin(k * pitch) / k for k in range(1, 12)) * (1 + np.sin(9 * time))
    sound = voice + np.random.default_rng(0).normal(size=len(time))
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    features = extractor(sound.astype(np.float32), sampling_rate=RATE, return_tensors="pt")["input_features"]
    with torch.inference_mode():
        encoder = WhisperModel.from_pretrained(folder).encoder.eval()
        ours = encoder(features, output_hidden_states=True).hidden_states[1][0].numpy()
    graph = onnx.load(network)
    norms = [node for node in graph.graph.node if node.op_type == "LayerNormalization"]
    # Two to a layer: the third reads what the first layer has made.
    graph.graph.output.append(
        onnx.helper.make_tensor_value_info(norms[2].input[0], onnx.TensorProto.FLOAT, None)
    )
    session = InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    theirs = session.run([norms[2].input[0]], {session.get_inputs()[0].name: features.numpy()})[0][0]
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(ours.T, theirs.T, strict=True)]))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", type=Path, help="smart-turn-v3.2-cpu.onnx")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder to write")
    options = parser.parse_args()
    try:
        write_folder(options.network, options.output)
    except (OSError, LookupError, ValueError, RuntimeError, DecodeError) as error:
        parser.error(
            f"{options.network} is not smart-turn-v3.2-cpu.onnx of pipecat-ai 1.14.0 ({error!r:.200})"
        )
    print(
        f"{options.output}: after its first layer as the file, r = {agreement(options.network, options.output):.3f}"
    )


if __name__ == "__main__":
    main()
