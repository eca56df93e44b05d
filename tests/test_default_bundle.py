"""The bundle that ships: what it promises, on the clips of examples/ and, where they are, on reserved people."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import onnx
import pytest

from affetto import load
from affetto.bundle import DEFAULT_BUNDLE, FUSION, open_bundle
from affetto.data.corpora import read_corpus
from affetto.data.splits import reserve
from affetto.evaluation.metrics import uar
from affetto.labels import EMOTIONS
from affetto.predictor import Predictor

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
ITEM = {
    "speech": str(ROOT / "examples" / "thanks.flac"),
    "text": "Thank you so much, that is wonderful news, you made my day!",
    "vision": str(ROOT / "examples" / "smiling.png"),
}
SUBSETS = [subset for size in (1, 2, 3) for subset in combinations(ITEM, size)]

pytestmark = pytest.mark.skipif(not DEFAULT_BUNDLE.exists(), reason="no bundle is shipped with this checkout")


@pytest.fixture(scope="module")
def model() -> Predictor:
    return load()


def test_it_is_small_complete_and_names_its_licence() -> None:
    bundle = open_bundle()
    assert sum(file.stat().st_size for file in DEFAULT_BUNDLE.iterdir()) <= 12e6
    assert bundle.info.licence == "CC-BY-NC-SA-4.0"
    assert bundle.info.task("emotion").labels == EMOTIONS
    assert bundle.info.parts.modalities() == ("speech", "text", "vision")
    assert bundle.info.reserved["ravdess"] == ("15", "16")
    assert "model.safetensors" in bundle.info.files


@pytest.mark.parametrize("part", ["speech", "text", "vision", FUSION])
def test_its_products_overflow_on_no_cpu(part: str) -> None:
    """CPUs without VNNI add u8 times two neighbouring weights in 16 bits."""
    model = onnx.load_from_string(open_bundle().read_part(part, "int8"))
    rounded = [tensor for tensor in model.graph.initializer if tensor.name.endswith("_quantized")]
    weights = [onnx.numpy_helper.to_array(tensor).astype(int) for tensor in rounded if len(tensor.dims) > 1]
    assert weights
    for weight in weights:
        if part == "vision":  # convolutions, in seven bits
            assert np.abs(weight).max() <= 64
        else:
            pairs = np.pad(weight, ((0, len(weight) % 2), (0, 0))).reshape(-1, 2, weight.shape[1])
            assert 255 * np.maximum(pairs, 0).sum(axis=1).max() <= np.iinfo(np.int16).max
            assert 255 * np.minimum(pairs, 0).sum(axis=1).min() >= np.iinfo(np.int16).min


@pytest.mark.parametrize("subset", SUBSETS, ids=["+".join(subset) for subset in SUBSETS])
def test_every_subset_answers_and_is_calibrated(model: Predictor, subset: tuple[str, ...]) -> None:
    answer = model.predict(**{name: ITEM[name] for name in subset})
    assert sum(answer.probabilities.values()) == pytest.approx(1.0, abs=1e-6)
    assert set(answer.missing) == set(ITEM) - set(subset)
    assert set(subset) <= set(answer.modalities)
    assert "not_calibrated" not in answer.warnings
    assert (answer.emotion is None) == answer.abstained


def test_an_obvious_sentence_is_understood(model: Predictor) -> None:
    expected = {
        "I am so happy, thank you, this is wonderful!": "happiness",
        "This makes me furious, I hate it!": "anger",
        "I am so sad, I cried all night.": "sadness",
    }
    for text, emotion in expected.items():
        probabilities = model.predict(text=text).probabilities
        assert max(probabilities, key=probabilities.__getitem__) == emotion, text


@pytest.mark.parametrize(
    "text", ["Ich bin heute sehr traurig und müde.", "Jestem bardzo szczęśliwy, dziękuję!", "我今天很高兴。"]
)
def test_a_foreign_sentence_is_not_guessed(model: Predictor, text: str) -> None:
    answer = model.predict(text=text)
    assert answer.abstained
    assert answer.reason == "language_not_supported"


@pytest.mark.skipif(not DATA.exists(), reason="the corpora are not beside this checkout")
def test_its_figure_on_reserved_people_is_reproduced(model: Predictor) -> None:
    clips = reserve(read_corpus("ravdess", DATA / "ravdess").clips, {"ravdess": ("15", "16")})
    clips = [clip for clip in clips if clip.split == "test"]
    said = [max(p, key=p.__getitem__) for p in (model.predict_clip(clip).probabilities for clip in clips)]
    found = uar([EMOTIONS.index(str(c.labels["emotion"])) for c in clips], [EMOTIONS.index(e) for e in said])
    figures = json.loads((ROOT / "docs" / "default-model.json").read_text())
    stated = next(f["value"] for f in figures if f["protocol"].startswith("ravdess, reserved"))
    assert found == pytest.approx(stated, abs=0.02)


def test_predicting_never_imports_torch() -> None:
    code = (
        "import sys, affetto.cli.app as app\n"
        f"sys.argv = ['affetto', 'predict', {ITEM['speech']!r}, '--text', {ITEM['text']!r}, '--json']\n"
        "try:\n    app.main()\nexcept SystemExit as done:\n    assert not done.code, done.code\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().endswith("False")
    assert np.isfinite(json.loads(done.stdout)["confidence"])
