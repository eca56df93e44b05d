"""A bundle is refused unless every byte of it is what its contract vouches for."""

from __future__ import annotations

import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from affetto.bundle import Bundle, describe, open_bundle, part_file, storage, subset_key
from affetto.errors import BundleError
from affetto.learn.export.folder import write_bundle_folder
from affetto.onnx_file import points_outside
from digests import digest


@pytest.fixture
def copy(plain_bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain_bundle.path, tmp_path / "copy"))


def edit(folder: Path, **changes: object) -> None:
    """Change fields of bundle.json in place."""
    path = folder / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def zipped(folder: Path, target: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, prefix + file.name)
    return target


def refusal(path: Path) -> BundleError:
    with pytest.raises(BundleError) as caught:
        open_bundle(path)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_sound_bundle_opens(plain_bundle: Bundle) -> None:
    again = open_bundle(plain_bundle.path)
    assert again == plain_bundle
    assert again.precisions() == ("int8", "fp32")
    assert digest(again.read_part("speech", "int8")) == digest(
        (plain_bundle.path / "speech.int8.onnx").read_bytes()
    )


@pytest.mark.parametrize("prefix", ["", "plain/"])
def test_a_zip_is_the_same_bundle(copy: Path, tmp_path: Path, plain_bundle: Bundle, prefix: str) -> None:
    archived = open_bundle(zipped(copy, tmp_path / "b.zip", prefix))
    assert archived.info == plain_bundle.info
    assert archived.sha256 == plain_bundle.sha256
    assert archived.read("tokenizer.json") == plain_bundle.read("tokenizer.json")


def test_every_file_but_the_contract_is_vouched_for(tiny_bundle: Bundle) -> None:
    on_disk = {file.name for file in tiny_bundle.path.iterdir()}
    assert set(tiny_bundle.info.files) == on_disk - {"bundle.json"}


def test_one_byte_changed_anywhere_is_refused(copy: Path) -> None:
    for file in sorted(copy.iterdir()):
        if file.name == "bundle.json":
            continue
        data = file.read_bytes()
        place = len(data) // 2
        file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        error = refusal(copy)
        assert error.code == "bundle_tampered"
        assert file.name in str(error)
        file.write_bytes(data)
    open_bundle(copy)


def test_a_file_changed_after_opening_is_refused_when_read(copy: Path) -> None:
    bundle = open_bundle(copy)
    (copy / "speech.onnx").write_bytes(b"something else")
    with pytest.raises(BundleError) as caught:
        bundle.read_part("speech", "fp32")
    assert caught.value.code == "bundle_tampered"


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "text.onnx").unlink()
    error = refusal(copy)
    assert error.code == "bundle_not_found"
    assert "text.onnx" in str(error)


def scaled(scale: list, bias: list) -> dict:
    """A calibration of the seven emotions of text by vectors."""
    vectors = {"vote": {"scale": scale, "bias": bias}}
    return {"calibration": {"int8": {"emotion": {"text": {"vectors": vectors}}}}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"format": 2}, "format 2"),
        ({"format": None}, "format None"),
        ({"views": []}, "views"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"parts": {}}, "at least one"),
        ({"tasks": [{"name": "emotion", "kind": "single-label", "labels": ["a"], "views": ["text"]}]}, "two"),
        ({"tasks": [{"name": "x", "kind": "dimension", "views": ["nowhere"]}]}, "nowhere"),
        ({"calibration": {"int8": {"emotion": {"text": {"temperatures": {"vote": 0}}}}}}, "above 0"),
        (scaled([1.0] * 6 + [0.0], [0.0] * 7), "above 0"),
        (scaled([1.0] * 7, [0.0] * 6 + [float("inf")]), "finite"),
        (scaled([1.0] * 7, [0.0] * 6), "7 numbers of scale, 6 of bias"),
        (scaled([1.0] * 6, [0.0] * 6), "6 numbers, expected 7"),
        ({"files": {"../speech.onnx": "0" * 64}}, "plain name"),
        ({"files": {"/etc/passwd.json": "0" * 64}}, "plain name"),
        ({"files": {"weights.pkl": "0" * 64}}, "may not hold"),
        ({"files": {"speech.onnx": "0" * 64}}, "tokenizer.json"),
    ],
)
def test_a_contract_that_makes_no_sense_is_refused(copy: Path, changes: dict, expected: str) -> None:
    edit(copy, **changes)
    error = refusal(copy)
    assert error.code == "bundle_invalid"
    assert expected in str(error)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"bundle"', "[" * 100_000])
def test_a_contract_that_is_not_json_is_refused(copy: Path, text: str) -> None:
    (copy / "bundle.json").write_text(text)
    assert refusal(copy).code == "bundle_invalid"


def test_a_huge_contract_is_refused_unread(copy: Path) -> None:
    with (copy / "bundle.json").open("r+b") as stream:
        stream.truncate(1 << 30)  # sparse
    assert "larger" in str(refusal(copy))


@pytest.mark.parametrize("member", ["../evil.onnx", "/evil.onnx", "a/../../evil.onnx", "..\\evil.onnx"])
def test_a_zip_that_reaches_out_is_refused(copy: Path, tmp_path: Path, member: str) -> None:
    path = zipped(copy, tmp_path / "b.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(member), b"x")
    error = refusal(path)
    assert error.code == "bundle_invalid"
    assert "leaves the zip" in str(error)


def test_a_zip_that_unpacks_to_too_much_is_refused(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(copy, tmp_path / "b.zip")
    monkeypatch.setattr(storage, "_UNPACKED_LIMIT", 1000)
    assert refusal(path).code == "bundle_invalid"


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs symbolic links")
def test_a_link_out_of_the_folder_is_refused(copy: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.onnx"
    shutil.move(copy / "text.onnx", outside)
    (copy / "text.onnx").symlink_to(outside)
    error = refusal(copy)
    assert error.code == "bundle_invalid"
    assert "link" in str(error)


@pytest.mark.parametrize("kind", ["nothing", "empty folder", "a text file"])
def test_what_is_not_a_bundle(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "thing"
    if kind == "empty folder":
        path.mkdir()
    elif kind == "a text file":
        path.write_text("hello")
    assert refusal(path).code == "bundle_not_found"


def linear(external: bool = False) -> onnx.ModelProto:
    """A model with a weight, kept inside or in another file."""
    weight = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    if external:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value="../../../etc/passwd")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in "xy")
    return helper.make_model(helper.make_graph([node], "g", [x], [y], [weight]))


def in_a_branch(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same weight, hidden in a branch of an If."""
    graph = model.graph
    branch = helper.make_graph(list(graph.node), "branch", [], list(graph.output), list(graph.initializer))
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    c = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    return helper.make_model(helper.make_graph([node], "g", [c, *graph.input], list(graph.output)))


def as_a_constant(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same weight as the attribute of a Constant, in a function."""
    node = helper.make_node("Constant", [], ["w"], value=model.graph.initializer[0])
    function = helper.make_function("d", "F", [], ["w"], [node], [helper.make_opsetid("", 20)])
    return helper.make_model(helper.make_graph([], "g", [], []), functions=[function])


@pytest.mark.parametrize("hide", [lambda m: m, in_a_branch, as_a_constant])
@pytest.mark.parametrize("external", [True, False])
def test_data_outside_the_model_is_seen(hide: Callable, external: bool) -> None:
    assert points_outside(hide(linear(external)).SerializeToString()) is external


def test_a_part_with_data_outside_is_refused(variant: Callable[..., Bundle]) -> None:
    bundle = variant(files={"speech.onnx": linear(external=True).SerializeToString()})
    with pytest.raises(BundleError) as caught:
        bundle.read_part("speech", "fp32")
    assert caught.value.code == "bundle_invalid"


@pytest.mark.parametrize("data", [b"\xff" * 40, b"\x3a\x7f", b"\x0b", b"\x3a" + b"\xff" * 10])
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(BundleError) as caught:
        points_outside(data)
    assert caught.value.code == "bundle_invalid"


def test_no_prefix_of_a_model_crashes_the_walk() -> None:
    data = linear().SerializeToString()
    refused = 0
    for end in range(len(data)):
        try:
            points_outside(data[:end])
        except BundleError:
            refused += 1
    assert refused > len(data) / 2


def test_a_precision_that_is_not_there(variant: Callable[..., Bundle]) -> None:
    bundle = variant(files={"fusion.onnx": None})
    assert bundle.precisions() == ("int8",)
    with pytest.raises(BundleError) as caught:
        bundle.read_part("fusion", "fp32")
    assert caught.value.code == "bundle_not_found"
    assert "affetto export" in str(caught.value)


def test_writing_replaces_a_bundle_and_nothing_else(plain_bundle: Bundle, tmp_path: Path) -> None:
    files = {name: plain_bundle.read(name) for name in plain_bundle.info.files}
    out = tmp_path / "out"
    write_bundle_folder(out, plain_bundle.info, files)
    again = write_bundle_folder(out, plain_bundle.info.model_copy(update={"version": "2"}), files)
    assert again.info.version == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    with pytest.raises(BundleError) as caught:
        write_bundle_folder(precious, plain_bundle.info, files)
    assert caught.value.code == "run_exists"
    assert (precious / "thesis.tex").read_text() == "years of work"


def test_a_bundle_that_cannot_be_whole_leaves_nothing(plain_bundle: Bundle, tmp_path: Path) -> None:
    for name in ("evil.pkl", "sub/dir.json"):
        with pytest.raises(BundleError) as caught:
            write_bundle_folder(tmp_path / "out", plain_bundle.info, {name: b"x"})
        assert caught.value.code == "bundle_invalid"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError) as caught:
        write_bundle_folder(tmp_path / "file" / "out", plain_bundle.info, {})
    assert caught.value.code == "output_unwritable"


def test_verification_is_quick(tiny_bundle: Bundle, variant: Callable[..., Bundle]) -> None:
    big = variant(files={"model.safetensors": bytes(12 << 20)})
    began = time.process_time()
    open_bundle(big.path)
    assert time.process_time() - began < 0.25


def test_names() -> None:
    assert part_file("speech", "fp32") == "speech.onnx"
    assert part_file("fusion", "int8") == "fusion.int8.onnx"
    assert subset_key(["vision", "speech"]) == "speech+vision"


def test_description_says_what_matters(variant: Callable[..., Bundle]) -> None:
    corpora = [{"name": "ravdess", "licence": "CC BY-NC-SA 4.0", "clips": 960}]
    text = describe(variant(corpora=corpora, reserved={"ravdess": ["15", "16"]}))
    for expected in ("plain 1", "CC0-1.0", "anger", "int8", "reads text in: en", "960 clips", "15, 16"):
        assert expected in text
