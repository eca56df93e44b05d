"""Two small bundles for every test that needs one.

`tiny_bundle` has random weights and went through the real export; tracing takes its time, so it is made once
and kept for later runs. `plain_bundle` is drawn by hand, node by node: its answers can be told on paper.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import hashlib
import io
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affetto.bundle import Bundle, BundleInfo, open_bundle
from affetto.labels import EMOTIONS
from sounds import voice_like

SOURCE = Path(__file__).parents[1] / "src" / "affetto"
PICTURE = 32
SENTENCES = ("I am so happy to see you", "leave me alone", "what is that over there", "it rained all day")
SUBSETS = ("speech", "text", "vision", "speech+text", "speech+vision", "text+vision", "speech+text+vision")


# The tests' models are so small that threads only wait for each other, most of all where the cores are busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Runs in the background inherit that interrupts are ignored; tests of interruption send them.
signal.signal(signal.SIGINT, signal.default_int_handler)


# --- random weights, real export ---


@pytest.fixture(scope="session")
def quick_export() -> Iterator[None]:
    """torch makes its table of ONNX functions anew for every export, which takes longer than the rest of it for
    a tiny model: for tests that export, once is enough."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    table = functools.cache(ONNXRegistry.from_torchlib)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(table))
        yield


@pytest.fixture(scope="session")
def tiny_bundle(request: pytest.FixtureRequest) -> Bundle:
    """Speech, text and vision, int8 and fp32, hybrid views, the task emotion, calibrated."""
    folder = Path(tempfile.gettempdir()) / f"affetto-tests-{getpass.getuser()}" / _key()
    if not folder.exists():
        request.getfixturevalue("quick_export")
        folder.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            make_tiny_bundle(Path(made) / folder.name)
            with contextlib.suppress(OSError):  # another run of the tests was faster
                (Path(made) / folder.name).rename(folder)
    return open_bundle(folder)


def tiny_config() -> Any:
    """The smallest ModelConfig with all three modalities; most of the time goes into tracing it."""
    from affetto.learn.config import (
        FusionConfig,
        ModelConfig,
        SpeechConfig,
        TaskConfig,
        TextConfig,
        VisionConfig,
    )

    return ModelConfig(
        dim=16,
        speech=SpeechConfig(n_mels=16, channels=(4,), layers=0),
        text=TextConfig(name="words", vocab_size=300, max_tokens=16, width=16),
        vision=VisionConfig(size=PICTURE, channels=(4,), blocks=1),
        fusion=FusionConfig(name="concat", vote="learned"),
        tasks=(TaskConfig("emotion", labels=EMOTIONS),),
    )


def make_tiny_bundle(folder: Path) -> None:
    """Train a tokenizer on four sentences, draw weights, export."""
    import torch

    from affetto.features.text import encode, train_tokenizer
    from affetto.learn.export.writer import Facts, write_bundle
    from affetto.learn.models.build import build_recogniser

    tokenizer = train_tokenizer(SENTENCES, 300)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = build_recogniser(tiny_config()).eval()
    rng = np.random.default_rng(0)
    examples = [
        {
            "speech": voice_like(1.0, seed=i),
            "text": encode(tokenizer, sentence, 16),
            "vision": rng.random((1, 3, PICTURE, PICTURE), dtype=np.float32),
        }
        for i, sentence in enumerate(SENTENCES)
    ]
    facts = Facts("tiny", "0.0.1", "CC0-1.0", languages=("en",), reserved={"none": ("nobody",)})
    write_bundle(
        model,
        tiny_config(),
        folder,
        facts,
        tokenizer=tokenizer.to_str().encode(),
        examples=examples,
        calibration=_calibration(),
    )


def _key() -> str:
    """Changes with everything that the tiny bundle is made of."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for folder in ("config", "encoders", "fusion", "layers", "decoders", "models", "export"):
        for path in sorted((SOURCE / "learn" / folder).glob("*.py")):
            if path.name not in ("deliver.py", "calibrate.py", "stacking.py"):  # have no part in it
                digest.update(path.read_bytes())
    for name in ("bundle/contract.py", "features/text.py", "features/spectral.py"):
        digest.update((SOURCE / name).read_bytes())
    return digest.hexdigest()[:16]


def _calibration() -> Mapping[str, Any]:
    by_subset = {name: {"temperatures": {"vote": 1.0}, "abstain_below": 0.0} for name in SUBSETS}
    return {precision: {"emotion": by_subset} for precision in ("int8", "fp32")}


# --- drawn by hand ---

#: Words of the plain bundle's vocabulary and the logits they stand for; "привет" is another language.
WORDS = {
    "[PAD]": {},
    "[UNK]": {},
    "furious": {"anger": 4.0},
    "happy": {"happiness": 4.0},
    "gloomy": {"sadness": 4.0},
    "hm": {"neutral": 0.1},
    "привет": {"fear": 4.0},
}
WIDTH = 8  # seven emotions, and how foreign the text is


@pytest.fixture(scope="session")
def plain_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A Track carries its own logits. Speech: anger is 20 x the mean sample, happiness the opposite. Text:
    the mean over words of their logits in `WORDS`. Vision: surprise is 4 x the mean pixel, sadness 4 x what
    is missing to white. Every view says the mean over its steps, `fused` and `vote` the sum of those present;
    weights are equal; valence and the topics war and -peace are the anger of speech. Window: 2 s.
    """
    from affetto.learn.export.folder import write_bundle_folder

    info = {
        "name": "plain",
        "version": "1",
        "licence": "CC0-1.0",
        "tasks": [
            {"name": "emotion", "kind": "single-label", "labels": EMOTIONS, "views": ["fused", *MODALITIES]},
            {"name": "language", "kind": "single-label", "labels": ["en", "other"], "views": ["text"]},
            {"name": "topics", "kind": "multi-label", "labels": ["war", "peace"], "views": ["speech"]},
            {"name": "valence", "kind": "dimension", "views": ["speech"]},
        ],
        "views": ["fused", *MODALITIES],
        "parts": {
            "speech": {"width": WIDTH, "window_seconds": 2.0},
            "text": {"width": WIDTH, "max_tokens": 16, "languages": ["en"]},
            "vision": {"width": WIDTH, "size": PICTURE},
        },
        "calibration": _calibration(),
    }
    parts = {"speech": _speech(), "text": _text(), "vision": _vision(), "fusion": _fusion()}
    files = {f"{name}{suffix}": data for name, data in parts.items() for suffix in (".onnx", ".int8.onnx")}
    files["tokenizer.json"] = _tokenizer()
    folder = tmp_path_factory.mktemp("bundles") / "plain"
    return write_bundle_folder(folder, BundleInfo.model_validate(info), files)


@pytest.fixture
def variant(plain_bundle: Bundle, tmp_path: Path) -> Callable[..., Bundle]:
    """Copies of the plain bundle that differ: variant(name="x", files={"speech.onnx": None})."""
    from affetto.learn.export.folder import write_bundle_folder

    made: list[Bundle] = []

    def make(files: Mapping[str, bytes | None] | None = None, **changes: Any) -> Bundle:
        whole = {name: plain_bundle.read(name) for name in plain_bundle.info.files} | dict(files or {})
        info = BundleInfo.model_validate({**plain_bundle.info.model_dump(), "files": {}, **changes})
        kept = {name: data for name, data in whole.items() if data is not None}
        made.append(write_bundle_folder(tmp_path / f"variant{len(made)}", info, kept))
        return made[-1]

    return make


MODALITIES = ("speech", "text", "vision")


class _Drawing:
    """An ONNX graph under construction."""

    def __init__(self) -> None:
        from onnx import helper

        self.helper = helper
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.tensors: list[Any] = []

    def input(self, name: str, kind: str, shape: list[Any]) -> str:
        self.inputs.append(self.helper.make_tensor_value_info(name, _types()[kind], shape))
        return name

    def output(self, name: str, kind: str, shape: list[Any], source: str) -> None:
        self.outputs.append(self.helper.make_tensor_value_info(name, _types()[kind], shape))
        self.nodes.append(self.helper.make_node("Identity", [source], [name]))

    def constant(self, values: Any, kind: type) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def bytes(self) -> bytes:
        graph = self.helper.make_graph(self.nodes, "part", self.inputs, self.outputs, self.tensors)
        model = self.helper.make_model(graph, opset_imports=[self.helper.make_opsetid("", 20)])
        model.ir_version = 10
        return model.SerializeToString()


def _types() -> dict[str, int]:
    from onnx import TensorProto

    return {"float": TensorProto.FLOAT, "int": TensorProto.INT64, "bool": TensorProto.BOOL}


def _one(name: str, scale: float = 1.0) -> list[float]:
    return [scale * (label == name) for label in (*EMOTIONS, "foreign")]


def _part(draw: _Drawing, values: str, mask: str) -> bytes:
    draw.output("values", "float", ["B", "T", WIDTH], values)
    draw.output("mask_out", "bool", ["B", "T"], mask)
    return draw.bytes()


def _speech() -> bytes:
    draw = _Drawing()
    wave, mask = draw.input("waveform", "float", ["B", "N"]), draw.input("mask", "bool", ["B", "N"])
    mean = draw(
        "Unsqueeze", draw("ReduceMean", wave, draw.constant([1], np.int64)), draw.constant([2], np.int64)
    )
    slope = np.array(_one("anger", 20.0)) - np.array(_one("happiness", 20.0))
    values = draw("Mul", mean, draw.constant(slope, np.float32))
    first = draw("Slice", mask, *(draw.constant([n], np.int64) for n in (0, 1, 1)))
    return _part(draw, values, first)


def _text() -> bytes:
    draw = _Drawing()
    ids, mask = draw.input("ids", "int", ["B", "T"]), draw.input("mask", "bool", ["B", "T"])
    table = np.zeros((len(WORDS), WIDTH))
    for row, (word, logits) in enumerate(WORDS.items()):
        for name, value in logits.items():
            table[row, EMOTIONS.index(name)] = value
        table[row, -1] = 5.0 * (word == "привет")
    return _part(draw, draw("Gather", draw.constant(table, np.float32), ids), mask)


def _vision() -> bytes:
    draw = _Drawing()
    pixels = draw.input("pixels", "float", ["B", "T", 3, PICTURE, PICTURE])
    mask = draw.input("mask", "bool", ["B", "T"])
    flat = draw("ReduceMean", pixels, draw.constant([2, 3, 4], np.int64), keepdims=0)
    mean = draw("Unsqueeze", flat, draw.constant([2], np.int64))
    slope = np.array(_one("surprise", 4.0)) - np.array(_one("sadness", 4.0))
    values = draw("Mul", mean, draw.constant(slope, np.float32))
    return _part(draw, draw("Add", values, draw.constant(_one("sadness", 4.0), np.float32)), mask)


def _fusion() -> bytes:
    draw = _Drawing()
    seven = [draw.constant([n], np.int64) for n in (0, 7, 1)]
    said, there = {}, {}
    for name in MODALITIES:
        values = draw.input(f"{name}_values", "float", ["B", f"T_{name}", WIDTH])
        mask = draw.input(f"{name}_mask", "bool", ["B", f"T_{name}"])
        real = draw("Unsqueeze", draw("Cast", mask, to=_types()["float"]), draw.constant([2], np.int64))
        total = draw("ReduceSum", draw("Mul", values, real), draw.constant([1], np.int64), keepdims=0)
        steps = draw("ReduceSum", real, draw.constant([1], np.int64), keepdims=0)
        said[name] = draw("Div", total, draw("Max", steps, draw.constant([1], np.float32)))
        there[name] = draw("Min", steps, draw.constant([1], np.float32))
    everything = draw("Sum", *said.values())
    for view, values in {"fused": everything, **said, "vote": everything}.items():
        logits = draw("Slice", values, seven[0], seven[1], seven[2])
        draw.output(f"emotion.{view}", "float", ["B", 7], logits)
    count = draw("Max", draw("Sum", *there.values()), draw.constant([1], np.float32))
    shares = [draw("Div", there[name], count) for name in MODALITIES]
    none = draw("Sub", count, count)
    draw.output("emotion.weights", "float", ["B", 4], draw("Concat", none, *shares, axis=1))
    foreign = draw("Slice", said["text"], *(draw.constant([n], np.int64) for n in (7, 8, 1)))
    language = draw("Concat", draw.constant([[1.0]], np.float32), foreign, axis=1)
    anger = draw("Slice", said["speech"], *(draw.constant([n], np.int64) for n in (0, 1, 1)))
    topics = draw("Concat", anger, draw("Neg", anger), axis=1)
    for task, classes, values in (("language", 2, language), ("topics", 2, topics), ("valence", 1, anger)):
        view = "text" if task == "language" else "speech"
        draw.output(f"{task}.{view}", "float", ["B", classes], values)
        draw.output(f"{task}.vote", "float", ["B", classes], values)
    for view, values in {"fused": everything, **said}.items():
        draw.output(f"embedding.{view}", "float", ["B", WIDTH], values)
    return draw.bytes()


def _tokenizer() -> bytes:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {word: i for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer.to_str().encode()


# --- media ---


@pytest.fixture(scope="session")
def voice() -> Callable[..., np.ndarray]:
    """Makes sounds like speech: voice(seconds, seed=0)."""
    return voice_like


@pytest.fixture
def wav(tmp_path: Path) -> Callable[..., Path]:
    """Writes samples to a WAV file: wav(samples, "name.wav")."""

    def write(samples: np.ndarray, name: str = "clip.wav") -> Path:
        import soundfile

        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, 16000, subtype="FLOAT")
        return path

    return write


@pytest.fixture(scope="session")
def face() -> bytes:
    """A drawing with two dark eyes and a mouth, as the bytes of a PNG: it passes for a face crop."""
    from PIL import Image

    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    grey = 150 - 25 * (x**2 + y**2) + 30 * np.exp(-((x / 0.18) ** 2) - ((y + 0.05) / 0.35) ** 2)
    for cx, cy, sx, sy in ((-0.42, -0.3, 0.25, 0.16), (0.42, -0.3, 0.25, 0.16), (0, 0.55, 0.35, 0.15)):
        grey -= 110 * np.exp(-(((x - cx) / sx) ** 2) - ((y - cy) / sy) ** 2)
    file = io.BytesIO()
    pixels = np.clip(grey, 0, 255).astype(np.uint8)
    Image.fromarray(np.repeat(pixels[..., None], 3, axis=2)).save(file, "PNG")
    return file.getvalue()
