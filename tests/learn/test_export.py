"""Exported parts against the model they were made from: ONNX = torch, alone = batched, int8 near fp32."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from affetto.bundle import FUSION, Bundle, Calibration, CorpusInfo, open_bundle
from affetto.errors import BundleError, ConfigError, TrainingError
from affetto.features.text import encode, train_tokenizer
from affetto.labels import EMOTIONS
from affetto.learn.config import FusionConfig, ModelConfig, SpeechConfig, TaskConfig, TextConfig, VisionConfig
from affetto.learn.export import writer
from affetto.learn.export.calibrate import Labelled, fit_calibration
from affetto.learn.export.card import Card, Result, render_card
from affetto.learn.export.onnx import export_parts, named, tidy
from affetto.learn.export.parity import compare_precisions, compare_with_torch, random_items
from affetto.learn.export.parts import Parts, padded, subsets
from affetto.learn.export.quantise import (
    convolves,
    front_end,
    quantise_dynamic,
    quantise_static,
    weighted_operators,
)
from affetto.learn.models.build import build_recogniser
from affetto.learn.models.recogniser import Recogniser
from affetto.predictor import Predictor, open_session
from affetto.records import MODALITIES, Track
from digests import digest

pytestmark = pytest.mark.usefixtures("quick_export")
PICTURE = 32
NAMES = (*MODALITIES, FUSION)


def parts_of(bundle: Bundle, precision: str) -> dict[str, bytes]:
    return {name: bundle.read_part(name, precision) for name in NAMES}


@pytest.fixture(scope="module")
def model(tiny_bundle: Bundle) -> Recogniser:
    return writer.load_model(tiny_bundle)


@pytest.fixture(scope="module")
def fp32(tiny_bundle: Bundle) -> Parts:
    return Parts(parts_of(tiny_bundle, "fp32"))


@pytest.fixture(scope="module")
def items() -> list:
    return random_items(9, modalities=MODALITIES, vocabulary=300, picture=PICTURE, seed=5)


# --- ONNX = torch ---


def test_a_part_that_no_file_could_hold_is_refused(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = onnx.load_from_string(tiny_bundle.read_part("text", "fp32"))
    held = sum(len(weights.raw_data) for weights in part.graph.initializer)
    monkeypatch.setattr("affetto.learn.export.onnx.LARGEST", held + 1)
    tidy(part)
    monkeypatch.setattr("affetto.learn.export.onnx.LARGEST", held)
    with pytest.raises(ConfigError, match="a bundle needs a smaller backbone"):
        tidy(part)


def test_onnx_says_what_torch_says(tiny_bundle: Bundle, model: Recogniser, items: list) -> None:
    found = compare_with_torch(model, parts_of(tiny_bundle, "fp32"), items)
    assert found["max_abs_difference"] < 1e-5


@pytest.mark.parametrize("subset", subsets(MODALITIES), ids="+".join)
def test_alone_is_batched(fp32: Parts, items: list, subset: tuple[str, ...]) -> None:
    together = fp32.fuse({m: fp32.encode(m, *padded([item[m] for item in items])) for m in subset})
    for row, item in enumerate(items):
        alone = fp32.fuse({m: fp32.encode(m, *padded([item[m]])) for m in subset})
        for name, value in alone.items():
            assert together[name][row] == pytest.approx(value[0], abs=1e-5), name


def test_the_predictor_says_what_torch_says(
    tiny_bundle: Bundle, model: Recogniser, voice: Callable[..., np.ndarray]
) -> None:
    samples = voice(1.1)
    inputs = {"speech": Track(torch.from_numpy(samples[None]), torch.ones(1, len(samples), dtype=torch.bool))}
    with torch.inference_mode():
        expected = torch.softmax(model(inputs).logits["emotion"]["vote"][0].double(), dim=0)
    answer = Predictor(tiny_bundle, precision="fp32").predict(speech=samples)
    assert list(answer.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-5)


def test_names_are_the_contract(tiny_bundle: Bundle, model: Recogniser) -> None:
    fusion = onnx.load_from_string(tiny_bundle.read_part(FUSION, "fp32")).graph
    assert [i.name for i in fusion.input] == [
        f"{m}_{what}" for m in MODALITIES for what in ("values", "mask")
    ]
    views = ("fused", *MODALITIES)
    expected = {f"emotion.{view}" for view in (*views, "vote")} | {f"embedding.{view}" for view in views}
    assert {o.name for o in fusion.output} == expected | {"emotion.weights"}
    for part, first in (("speech", "waveform"), ("text", "ids"), ("vision", "pixels")):
        graph = onnx.load_from_string(tiny_bundle.read_part(part, "int8")).graph
        assert [i.name for i in graph.input] == [first, "mask"]
        assert [o.name for o in graph.output] == ["values", "mask_out"]
    info = tiny_bundle.info
    assert info.views == info.task("emotion").views == views
    assert info.task("emotion").labels == EMOTIONS
    assert info.parts.speech.width == info.parts.vision.width == 16
    assert info.parts.speech.clock == model.encoders["speech"].rate


def test_a_part_that_differs_is_not_shipped(tiny_bundle: Bundle, model: Recogniser, items: list) -> None:
    other = writer.rounded(model)
    with torch.no_grad():
        other.heads["emotion"]["speech"].out.bias += 0.01
    with pytest.raises(TrainingError) as caught:
        compare_with_torch(other, parts_of(tiny_bundle, "fp32"), items[:2])
    assert caught.value.code == "parity_failed"


#: Each encoder beside the smallest ones of the tiny bundle, and each fusion, at least once.
OTHERS = {
    "crnn, hybrid": {"speech": SpeechConfig(name="crnn", n_mels=16, channels=(4, 4), width=8, layers=1)},
    "speech transformer, gated": {
        "speech": SpeechConfig(name="transformer", n_mels=16, channels=(4, 4), width=16, layers=1, heads=2)
    },
    "speech embedding, late": {"speech": SpeechConfig(name="speech_embedding")},
    "text words, crossmodal": {"text": TextConfig(name="words", vocab_size=300, width=8)},
    "cnn of four stages, late": {"speech": SpeechConfig(n_mels=16, channels=(4, 4, 4, 4), layers=1)},
    "vit, towers": {"vision": VisionConfig(name="vit", size=PICTURE, width=16, layers=1, heads=2)},
    "text cnn, hybrid": {"text": TextConfig(name="cnn", vocab_size=300, width=16)},
    "text transformer, gated": {"text": TextConfig(vocab_size=300, width=16, layers=1, heads=2)},
    "vit, hybrid": {"vision": VisionConfig(name="vit", size=PICTURE, width=16, layers=1, heads=2)},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHERS)
def test_every_encoder_and_fusion_exports(kind: str) -> None:
    fusion = kind.rsplit(" ", 1)[1]
    torch.manual_seed(1)
    config = ModelConfig(
        dim=16,
        fusion=FusionConfig(name=fusion, tokens=2, layers=1, heads=2),
        tasks=(TaskConfig("emotion", labels=EMOTIONS), TaskConfig("valence", "dimension")),
        **OTHERS[kind],
    )
    model = writer.rounded(build_recogniser(config))
    parts = export_parts(model, picture=PICTURE)
    noise = random_items(8, modalities=model.modalities, vocabulary=300, picture=PICTURE)
    assert compare_with_torch(model, parts, noise)["max_abs_difference"] < 1e-4
    (name,) = model.modalities
    quantised = writer._quantise(name, parts[name], noise)
    recurrent = [why for why in quantised.left.values() if "GRU" in why]
    assert len(recurrent) == (2 if "crnn" in kind else 0)
    Parts({**parts, name: quantised.model}).encode_items(noise)


# --- int8 ---


def test_int8_is_near_fp32_and_reported(tiny_bundle: Bundle, items: list) -> None:
    truth = [0, 1, 2] * 3
    found = compare_precisions(parts_of(tiny_bundle, "fp32"), parts_of(tiny_bundle, "int8"), items, truth)
    assert set(found["subsets"]) == {"+".join(subset) for subset in subsets(MODALITIES)}
    for subset in found["subsets"].values():
        assert subset["n"] == len(items)
        assert subset["max_abs_difference"] < 0.02
        assert 0 <= subset["uar_int8"] <= 1
    assert found["bytes"]["text"]["ratio"] < 0.6
    assert set(found["times_faster"]) == set(MODALITIES)
    report = json.loads(tiny_bundle.read("parity.json"))
    assert report["torch_vs_onnx"]["max_abs_difference"] < 1e-4
    assert set(report["quantised"]) == set(NAMES)


def test_static_int8_does_not_depend_on_batch_mates(tiny_bundle: Bundle, items: list) -> None:
    int8 = Parts(parts_of(tiny_bundle, "int8"))
    together = int8.encode("vision", *padded([item["vision"] for item in items]))
    for row, item in enumerate(items):
        alone = int8.encode("vision", *padded([item["vision"]]))
        n = len(item["vision"])
        assert together.values[row, :n] == pytest.approx(alone.values[0], abs=1e-6)


def test_all_but_the_front_end_is_in_eight_bits(tiny_bundle: Bundle) -> None:
    for name in NAMES:
        graph = onnx.load_from_string(tiny_bundle.read_part(name, "int8"))
        left = {operator for operator, done in weighted_operators(graph).items() if not done}
        if name == "speech":
            front = front_end(onnx.load_from_string(tiny_bundle.read_part(name, "fp32")))
            assert left
            assert left <= front
        else:
            assert not left, name


def test_the_front_end_ends_where_training_begins(tiny_bundle: Bundle) -> None:
    speech = onnx.load_from_string(tiny_bundle.read_part("speech", "fp32"))
    front = front_end(speech)
    kinds = {node.name: node.op_type for node in speech.graph.node}
    assert [kinds[name] for name in front].count("Log") == 1
    weighted = [n.name for n in speech.graph.node if n.op_type in ("Conv", "MatMul", "Gemm")]
    assert 2 <= len(set(weighted) & front) < len(weighted)  # the DFT and the mel matrix


def graph_of(nodes: list, tensors: dict[str, np.ndarray], inputs: dict[str, list], output: str) -> bytes:
    kinds = {"ids": onnx.TensorProto.INT64}
    made = [
        helper.make_tensor_value_info(n, kinds.get(n, onnx.TensorProto.FLOAT), s) for n, s in inputs.items()
    ]
    out = helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)
    stored = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "g", made, [out], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    return model.SerializeToString()


def test_what_is_left_in_fp32_without_a_reason_is_refused() -> None:
    weight = np.ones((4, 3, 2), np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "square"], ["h"], name="product"),
        helper.make_node("ConvTranspose", ["h", "w"], ["y"], name="unloved"),
    ]
    tensors = {"w": weight, "square": np.eye(8, dtype=np.float32)}
    model = graph_of(nodes, tensors, {"x": [1, 4, 8]}, "y")
    with pytest.raises(TrainingError) as caught:
        quantise_dynamic(model)
    assert caught.value.code == "parity_failed"
    assert "unloved" in str(caught.value)


@pytest.mark.parametrize("transposed", [False, True])
def test_int8_products_overflow_on_no_cpu(transposed: bool) -> None:
    """CPUs without VNNI add u8 times two neighbouring weights in 16 bits: here, whatever the inputs, in vain."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(65, 12)).astype(np.float32)
    weight[10:14, :3] = 0.0
    weight[10:12, 0], weight[11:13, 1], weight[10:12, 2] = 4.0, 4.0, (4.0, -4.0)
    weight[:, 3] = 0.0
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="turned", transB=1)
    if not transposed:
        node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    model = graph_of([node], {"w": weight.T.copy() if transposed else weight}, {"x": [9, 65]}, "y")
    small = quantise_dynamic(model).model
    stored = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load_from_string(small).graph.initializer
    }
    pairs = np.pad(stored["w_quantized"].astype(int), ((0, 1), (0, 0))).reshape(-1, 2, 12)
    assert (255 * np.maximum(pairs, 0).sum(axis=1)).max() <= np.iinfo(np.int16).max
    assert (255 * np.minimum(pairs, 0).sum(axis=1)).min() >= np.iinfo(np.int16).min
    # Seven bits where two neighbours are large, eight where they are not, or have two signs.
    finest = np.abs(weight).max(axis=0) / 127
    assert stored["w_scale"][0] == pytest.approx(2 * finest[0], rel=0.01)
    assert stored["w_scale"][[1, 2]] == pytest.approx(finest[[1, 2]])
    x = rng.normal(size=(9, 65)).astype(np.float32)
    assert np.abs(open_session(small, "text", 1).run(None, {"x": x})[0] - x @ weight).max() < 0.4


def test_embedding_tables_get_a_scale_per_row() -> None:
    rng = np.random.default_rng(0)
    table = (rng.normal(size=(500, 32)) * np.geomspace(1e-3, 1e3, 500)[:, None]).astype(np.float32)
    model = graph_of(
        [helper.make_node("Gather", ["table", "ids"], ["y"], name="g")], {"table": table}, {"ids": [7]}, "y"
    )
    small = quantise_dynamic(model).model
    assert len(small) < 0.40 * len(model)
    ids = np.arange(0, 490, 70)
    rows = open_session(small, "text", 1).run(None, {"ids": ids})[0]
    assert np.all(np.abs(rows - table[ids]) <= np.abs(table[ids]).max(axis=1, keepdims=True) / 254 * 1.001)


def test_convolutions_over_words_get_static_scales() -> None:
    rng = np.random.default_rng(0)
    table, kernel = rng.normal(size=(300, 16)), rng.normal(size=(8, 16, 3)) / 7
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"], name="look-up"),
        helper.make_node("Transpose", ["x"], ["h"], perm=[0, 2, 1], name="turn"),
        helper.make_node("Conv", ["h", "kernel"], ["y"], name="three words", kernel_shape=[3]),
    ]
    tensors = {"table": table.astype(np.float32), "kernel": kernel.astype(np.float32)}
    model = graph_of(nodes, tensors, {"ids": [1, "T"]}, "y")
    assert convolves(model)
    feeds = [{"ids": rng.integers(0, 300, (1, 12))} for _ in range(8)]
    small = quantise_static(model, feeds)
    assert (small.quantised, small.left) == (1, {})
    exact, near = (open_session(m, "text", 1).run(None, feeds[0])[0] for m in (model, small.model))
    assert np.abs(exact - near).max() < 0.05 * np.abs(exact).max()


def test_static_int8_without_examples_is_refused(tiny_bundle: Bundle) -> None:
    vision = tiny_bundle.read_part("vision", "fp32")
    assert convolves(vision)
    assert not convolves(tiny_bundle.read_part("text", "fp32"))
    with pytest.raises(TrainingError, match="examples of vision"):
        writer._quantise("vision", vision, [{"text": np.arange(3)}])


# --- from a bundle back to a model ---


def test_weights_come_back_as_they_were(tiny_bundle: Bundle, model: Recogniser) -> None:
    again = writer.rounded(model)
    for (name, a), b in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert not model.training
    assert writer.load_config(tiny_bundle).dim == 16


def test_rounding_leaves_the_model_alone_and_refuses_what_does_not_fit(model: Recogniser) -> None:
    own = writer.rounded(model).train()
    bias = own.heads["emotion"]["speech"].out.bias
    with torch.no_grad():
        bias[0] = 0.1
    twin = writer.rounded(own)
    assert own.training
    assert bias[0].item() == np.float32(0.1)
    assert twin.heads["emotion"]["speech"].out.bias[0].item() == np.float32(np.float16(0.1))
    with torch.no_grad():
        bias[0] = 1e6
    with pytest.raises(TrainingError) as caught:
        writer.rounded(own)
    assert caught.value.code == "loss_not_finite"


@pytest.mark.parametrize(
    ("name", "content"),
    [("config.json", b"{}"), ("config.json", b"nonsense"), ("model.safetensors", b"\x80\x04pickle")],
)
def test_weights_and_config_that_do_not_belong_together(
    tiny_bundle: Bundle, tmp_path: Path, name: str, content: bytes
) -> None:
    files = {file: tiny_bundle.read(file) for file in tiny_bundle.info.files} | {name: content}
    bundle = writer.write_bundle_folder(tmp_path / "b", tiny_bundle.info, files)
    with pytest.raises(BundleError) as caught:
        writer.load_model(bundle)
    assert caught.value.code == "bundle_invalid"


def test_weights_of_another_model_are_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    config = json.loads(tiny_bundle.read("config.json"))
    config["model"]["dim"] = 24
    files = {f: tiny_bundle.read(f) for f in tiny_bundle.info.files} | {
        "config.json": json.dumps(config).encode()
    }
    bundle = writer.write_bundle_folder(tmp_path / "b", tiny_bundle.info, files)
    with pytest.raises(BundleError, match="does not fit"):
        writer.load_model(bundle)


def test_a_precision_that_is_there_is_taken_over(tiny_bundle: Bundle, tmp_path: Path) -> None:
    small = writer.remake_parts(tiny_bundle, tmp_path / "small", "int8")
    assert small.precisions() == ("int8",)
    assert digest(small.read_part("speech", "int8")) == digest(tiny_bundle.read_part("speech", "int8"))
    assert digest(small.read("model.safetensors")) == digest(tiny_bundle.read("model.safetensors"))
    assert small.info.calibration == tiny_bundle.info.calibration


def test_weights_that_int8_parts_hold_need_not_be_there_twice(tiny_bundle: Bundle, tmp_path: Path) -> None:
    once = writer.remake_parts(tiny_bundle, tmp_path / "once", "int8", once=True)
    assert len(once.read("model.safetensors")) < 0.7 * len(tiny_bundle.read("model.safetensors"))
    for name in NAMES:
        assert digest(once.read_part(name, "int8")) == digest(tiny_bundle.read_part(name, "int8"))
    before, after = (writer.load_model(bundle).state_dict() for bundle in (tiny_bundle, once))
    # Static scales have normalisations folded in: what convolves keeps its own weights.
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert {name.split(".")[1] for name in moved if name.startswith("encoders.")} == {"text"}
    assert any(name.startswith("fusion.") for name in moved)
    for name in moved:
        rows = before[name].flatten(1)
        step = rows.abs().amax(dim=1, keepdim=True) / 63
        assert ((after[name].flatten(1) - rows).abs() <= step).all(), name
    twice = writer.remake_parts(once, tmp_path / "twice", "int8", once=True)
    assert twice.info.files == once.info.files


@pytest.mark.slow
def test_parts_made_again_are_the_parts_that_were_shipped(
    tiny_bundle: Bundle, fp32: Parts, items: list, tmp_path: Path
) -> None:
    small = writer.remake_parts(tiny_bundle, tmp_path / "small", "int8")
    again = writer.remake_parts(small, tmp_path / "again", "fp32")
    assert again.precisions() == ("fp32",)
    remade = Parts(parts_of(again, "fp32"))
    for a, b in zip(remade.encode_items(items), fp32.encode_items(items), strict=True):
        for name, value in remade.fuse(a).items():
            assert value == pytest.approx(fp32.fuse(b)[name], abs=1e-6)
    kept = json.loads(again.read("parity.json"))
    assert "int8_vs_fp32" in kept  # what was measured when the bundle was written


def test_towers_bring_their_space(tmp_path: Path) -> None:
    torch.manual_seed(4)
    config = ModelConfig(
        dim=8,
        text=TextConfig(name="words", vocab_size=300, max_tokens=8, width=8),
        fusion=FusionConfig(name="towers", trunk=True, templates=("{}", "it is {}")),
        tasks=(TaskConfig("colour", labels=("red", "green"), head="probe"),),
    )
    model = writer.rounded(build_recogniser(config))
    tokenizer = train_tokenizer(["it is red", "it is green"], 300)
    bundle = writer.write_bundle(
        model, config, tmp_path / "towers", writer.Facts("towers", "1", "CC0-1.0", ("en",)),
        tokenizer=tokenizer.to_str().encode(), precisions=("fp32",),
    )  # fmt: skip
    space = bundle.info.embedding
    assert space is not None
    assert (space.width, space.modalities, space.templates) == (8, ("text",), ("{}", "it is {}"))
    assert space.scale == pytest.approx(float(model.fusion.scale.detach()))
    ids = torch.from_numpy(encode(tokenizer, "it is red", 8))[None]
    with torch.inference_mode():
        expected = model({"text": Track(ids, torch.ones_like(ids, dtype=torch.bool))}).embeddings["text"][0]
    assert Predictor(bundle).embed(text="it is red") == pytest.approx(expected.numpy(), abs=1e-5)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recogniser, Bundle]:
    """A model that reads text alone, with tasks that only training has, and its bundle in int8."""
    torch.manual_seed(0)
    config = ModelConfig(
        dim=8,
        text=TextConfig(name="words", vocab_size=300, width=8),
        fusion=FusionConfig(name="late"),
        tasks=(
            TaskConfig("emotion", labels=("joyful", "other")),
            TaskConfig("speaker", "identity", ("x/Ann", "x/Bob", "x/Cid")),
            TaskConfig("language", labels=("en", "de"), adversarial=0.5),
        ),
    )
    model = build_recogniser(config)
    facts = writer.Facts("words", "1", "MIT", languages=("en", "de"))
    tokenizer = train_tokenizer(["so good to be here"], 300).to_str().encode()
    folder = tmp_path_factory.mktemp("words") / "b"
    return model, writer.write_bundle(model, config, folder, facts, tokenizer=tokenizer, precisions=("int8",))


def test_a_single_modality_is_a_bundle_too(words: tuple[Recogniser, Bundle]) -> None:
    model, bundle = words
    assert model.training
    assert bundle.precisions() == ("int8",)
    answer = Predictor(open_bundle(bundle.path)).predict(text="good")
    assert set(answer.probabilities) == {"joyful", "other"}
    assert answer.warnings == ("not_calibrated",)
    assert answer.missing == ()


def test_tasks_of_training_stay_out_of_the_parts_and_people_out_of_the_files(
    words: tuple[Recogniser, Bundle],
) -> None:
    model, bundle = words
    assert [task.name for task in bundle.info.tasks] == ["emotion"]
    assert not any(b"Ann" in bundle.read(name) for name in bundle.info.files)
    again = writer.load_model(bundle).get_parameter("heads.speaker.text.out.weight")
    torch.testing.assert_close(again, model.get_parameter("heads.speaker.text.out.weight"), atol=1e-3, rtol=0)


# --- calibration and card ---


def test_temperatures_are_found_again(plain_bundle: Bundle) -> None:
    """The plain bundle says "happy" with logit 4: of people who are happy half as surely, T = 2."""
    share = np.exp([0, 0, 0, 2, 0, 0, 0]) / (6 + np.exp(2))
    labelled = [Labelled({"text": np.array([3])}, {"emotion": share}) for _ in range(25)]
    labelled += [Labelled({"text": np.array([3])}, {}) for _ in range(25)]  # another task's
    found = fit_calibration(plain_bundle, labelled, coverage=0.9)
    assert set(found) == {"int8", "fp32"}
    assert set(found["int8"]["emotion"]) == {"text"}
    text = found["fp32"]["emotion"]["text"]
    for view in ("vote", "text", "fused"):
        assert text.temperatures[view] == pytest.approx(2.0, rel=1e-3)
    assert "speech" not in text.temperatures
    assert text.abstain_below == pytest.approx(share.max(), abs=1e-3)


def test_too_few_items_are_no_calibration(plain_bundle: Bundle) -> None:
    labelled = [Labelled({"text": np.array([3])}, {"emotion": np.eye(7)[3]}) for _ in range(5)]
    assert fit_calibration(plain_bundle, labelled)["int8"]["emotion"] == {}


def test_thresholds_of_several_labels(plain_bundle: Bundle) -> None:
    """War is said with logit 20 x offset: true from 0.05 on, so the threshold lies between 0.5 and 0.73."""
    offsets = np.linspace(-0.2, 0.2, 41)
    waves = [np.full(4000, offset, np.float32) for offset in offsets]
    labelled = [
        Labelled({"speech": wave}, {"topics": np.array([offset > 0.045, 0.0])})
        for wave, offset in zip(waves, offsets, strict=True)
    ]
    found = fit_calibration(plain_bundle, labelled)["int8"]["topics"]["speech"]
    assert 1 / (1 + np.exp(-0.8)) < found.label_thresholds["war"] <= 1 / (1 + np.exp(-1.0))


def test_calibration_is_added_to_a_bundle(tiny_bundle: Bundle, tmp_path: Path) -> None:
    calibration = {"int8": {"emotion": {"text": Calibration(temperatures={"vote": 3.0}, abstain_below=0.4)}}}
    card = Card(limits=("Only a toy.",))
    bundle = writer.with_calibration(tiny_bundle, tmp_path / "b", calibration, card)
    assert bundle.info.calibration["int8"]["emotion"]["text"].abstain_below == 0.4
    assert Predictor(bundle).predict(text="leave me alone").reason == "low_confidence"
    text = bundle.read("README.md").decode()
    assert "Only a toy." in text
    assert "int8, emotion: text" in text
    assert digest(bundle.read_part("text", "int8")) == digest(tiny_bundle.read_part("text", "int8"))


def test_the_card_says_what_was_measured_and_nothing_else(tiny_bundle: Bundle) -> None:
    corpora = (CorpusInfo(name="ravdess", licence="CC BY-NC-SA 4.0", clips=960),)
    info = tiny_bundle.info.model_copy(update={"corpora": corpora, "calibration": {}})
    results = (Result("RAVDESS, 4 folds", "UAR", 0.583, 0.55, 0.61, 960, "affetto evaluate x.csv"),)
    text = render_card(
        info, Card(results=results, trained="On two cores."), json.loads(tiny_bundle.read("parity.json"))
    )
    for expected in (
        "license: cc0-1.0",
        "- en",
        "ravdess (CC BY-NC-SA 4.0, 960 clips)",
        "never trained on: nobody of none",
        "| RAVDESS, 4 folds | UAR | 0.583 | 0.550 to 0.610 | 960 | `affetto evaluate x.csv` |",
        "On two cores.",
        "Not calibrated",
        "AI Act",
        "of the size of fp32",
    ):
        assert expected in text, expected
    empty = render_card(info.model_copy(update={"corpora": ()}), Card(), {})
    assert "None measured." in empty
    assert "Not measured." in empty


def test_outputs_by_name(model: Recogniser) -> None:
    track = Track(torch.zeros(2, 1, 16), torch.zeros(2, 1, dtype=torch.bool))
    flat = named(model.fuse({"text": track}))
    assert flat["emotion.vote"].shape == (2, 7)
    assert flat["embedding.fused"].shape == (2, 16)
