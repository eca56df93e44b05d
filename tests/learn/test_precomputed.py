"""Encoders of precomputed features, from the archive to the answer of an exported bundle."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from affetto.errors import ConfigError, DataError
from affetto.learn.config import (
    FeaturesConfig,
    FusionConfig,
    ModelConfig,
    TaskConfig,
    TextConfig,
    from_dict,
)
from affetto.learn.encoders.precomputed import FeatureMlp, FeatureTransformer, Standardise
from affetto.learn.experiments.own import own
from affetto.learn.export.writer import Facts, write_bundle
from affetto.learn.models.build import build_recogniser
from affetto.learn.training.loaders import BatchBuilder, BatchPlan
from affetto.learn.training.media_cache import MediaCache
from affetto.learn.training.pairing import drop_modalities, only_evidence
from affetto.predictor import Predictor
from affetto.records import Clip, Track

pytestmark = pytest.mark.usefixtures("quick_export")
TASK = TaskConfig("sentiment", labels=("negative", "positive"))
MODEL = ModelConfig(
    dim=8,
    features={
        "speech": FeaturesConfig(size=3, width=8, name="transformer", heads=2),
        "text": FeaturesConfig(size=4, width=8),
        "vision": FeaturesConfig(size=2, layers=0),
    },
    fusion=FusionConfig(name="gated"),
    tasks=(TASK,),
)


def noise(*shape):
    return torch.from_numpy(np.random.default_rng(0).normal(2.0, 5.0, shape).astype(np.float32))


def test_standardise_learns_the_statistics_of_all_real_steps():
    module, x = Standardise(3).train(), noise(12, 5, 3)
    mask = torch.from_numpy(np.random.default_rng(1).random((12, 5)) < 0.6)
    for first in range(0, 12, 4):
        module(x[first : first + 4], mask[first : first + 4])
    real = x[mask].numpy()
    np.testing.assert_allclose(module.mean, real.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(module.variance, real.var(axis=0), rtol=1e-5)
    expected = ((x.numpy() - real.mean(axis=0)) / real.std(axis=0)).clip(-5, 5)
    np.testing.assert_allclose(module.eval()(x, mask), expected, atol=1e-5)


def test_standardise_adds_noise_in_training_only_and_meets_an_empty_batch():
    module, x = Standardise(2, noise=1.0).train(), noise(500, 1, 2)
    mask = torch.ones(500, 1, dtype=torch.bool)
    module(x[:3], torch.zeros(3, 1, dtype=torch.bool))
    assert module.count == 0
    loud, quiet = module(x, mask), module.eval()(x, mask)
    assert float((loud - quiet).std()) == pytest.approx(1.0, abs=0.1)
    assert float(quiet.detach().std()) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_a_linear_or_hidden_projection_of_each_step(layers):
    encoder = FeatureMlp(6, size=3, width=4, layers=layers).eval()
    track = Track(noise(2, 3, 3), torch.ones(2, 3, dtype=torch.bool))
    out = encoder(track)
    assert (out.values.shape, encoder.in_dim, encoder.out_dim) == ((2, 3, 6), 3, 6)
    if layers == 0:
        x = encoder.standard(track.values, track.mask)
        torch.testing.assert_close(out.values, x @ encoder.out.weight.T + encoder.out.bias)


@pytest.mark.parametrize("make", [FeatureMlp, FeatureTransformer])
def test_padding_is_never_read(make):
    encoder, x = make(6, size=3, width=8).eval(), noise(2, 5, 3)
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[1, 3:] = False
    spoilt = x.clone()
    spoilt[1, 3:] = 99.0
    first, second = encoder(Track(x, mask)), encoder(Track(spoilt, mask))
    torch.testing.assert_close(first.values, second.values)
    assert not first.values[1, 3:].any()
    torch.testing.assert_close(first.values[1, :3], encoder(Track(x[1:, :3], mask[1:, :3])).values[0])


def test_a_transformer_lets_steps_see_each_other_and_an_mlp_does_not():
    x = noise(1, 4, 3)
    changed = x.clone()
    changed[0, 3] += 5.0
    mask = torch.ones(1, 4, dtype=torch.bool)
    for make, sees in ((FeatureMlp, False), (FeatureTransformer, True)):
        encoder = make(6, size=3, width=8).eval()
        same = torch.allclose(
            encoder(Track(x, mask)).values[0, :3], encoder(Track(changed, mask)).values[0, :3]
        )
        assert same is not sees


@pytest.fixture
def corpus(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "f.npz",
        speech=rng.normal(size=(4, 6, 3)),
        text=rng.normal(size=(4, 4)),
        vision=rng.normal(size=(4, 2)),
    )
    names = ("speech", "text", "vision")
    return [
        Clip(
            str(i),
            features={
                name: f"{tmp_path / 'f.npz'}#{name}/{i}" for name in names if (name, i) != ("speech", 1)
            },
            labels={"sentiment": TASK.labels[i % 2]},
        )
        for i in range(4)
    ]


def test_a_batch_holds_features_and_their_absence(corpus, tmp_path):
    cache = MediaCache(MODEL)
    assert cache.add(corpus) == {}
    batch = BatchBuilder(cache, (TASK,))[BatchPlan(tuple(corpus))]
    assert {name: tuple(track.values.shape) for name, track in batch.inputs.items()} == {
        "speech": (4, 6, 3), "text": (4, 1, 4), "vision": (4, 1, 2)
    }  # fmt: skip
    assert batch.inputs["speech"].mask.any(dim=1).tolist() == [True, False, True, True]
    with np.load(tmp_path / "f.npz") as arrays:
        np.testing.assert_allclose(batch.inputs["text"].values[:, 0], arrays["text"], rtol=1e-6)
        np.testing.assert_allclose(batch.inputs["speech"].values[2], arrays["speech"][2], rtol=1e-6)
    assert cache.inputs(corpus[1]).keys() == {"text", "vision"}
    assert cache.narrowed(("text",)).inputs(corpus[0]).keys() == {"text"}


def test_features_are_dropped_with_their_modality(corpus):
    assert only_evidence(corpus[0], ("text",)).features.keys() == {"text"}
    rng = np.random.default_rng(0)
    kept = {drop_modalities(corpus[0], 1.0, rng).modalities() for _ in range(100)}
    assert len(kept) == 6


def test_wrong_features_are_named(corpus):
    narrow = ModelConfig(dim=8, features={"text": FeaturesConfig(size=5)}, tasks=(TASK,))
    with pytest.raises(DataError, match=r"4 values per step, expected model.features.text.size, which is 5"):
        MediaCache(narrow).add(corpus)
    with pytest.raises(DataError, match="no precomputed features of text"):
        MediaCache(MODEL).add([Clip("1", text="hello")])
    reads = ModelConfig(dim=8, text=TextConfig(), tasks=(TASK,))
    with pytest.raises(DataError, match=r"give it model.features.text"):
        MediaCache(reads).add(corpus)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"text": {}, "features": {"text": {"size": 3}}}, "read one way"),
        ({"features": {"smell": {"size": 3}}}, "'smell'"),
    ],
)
def test_settings_that_exclude_each_other(model, said):
    from affetto.learn.config import ExperimentConfig

    with pytest.raises(ConfigError, match=said):
        from_dict(ExperimentConfig, {"name": "x", "model": model})


def test_an_experiment_for_a_manifest_reads_features_where_there_are_any(corpus):
    config = own("my.csv", "my", corpus, {"speech": 3, "text": 4, "vision": 2})
    assert config.model.modalities == ("speech", "text", "vision")
    assert (config.model.speech, config.model.features["text"].size) == (None, 4)
    build_recogniser(config.model)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    torch.manual_seed(0)
    model = build_recogniser(MODEL)
    model.train()
    x = {
        name: Track(noise(9, 3, s.size), torch.ones(9, 3, dtype=torch.bool))
        for name, s in MODEL.features.items()
    }
    model.encode(x)
    facts = Facts(name="features", version="1", licence="CC0")
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    return model.eval(), write_bundle(model, MODEL, folder, facts)  # refuses a part that differs from torch


def test_an_exported_bundle_answers_to_features(bundle):
    model, opened = bundle
    predictor = Predictor(opened, precision="fp32")
    values = {"speech": noise(7, 3).numpy(), "text": noise(4).numpy(), "vision": noise(1, 2).numpy()}
    for names in (("speech",), ("text", "vision"), ("speech", "text", "vision")):
        given = {name: values[name] for name in names}
        steps = {name: torch.from_numpy(np.atleast_2d(v)[None]) for name, v in given.items()}
        tracks = {name: Track(x, torch.ones(x.shape[:2], dtype=torch.bool)) for name, x in steps.items()}
        with torch.inference_mode():
            expected = model(tracks).logits["sentiment"]["vote"].softmax(dim=-1)[0]
        answer = predictor.predict_features(given)
        said = answer.tasks["sentiment"]["probabilities"]
        assert list(said.values()) == pytest.approx(expected.tolist(), abs=2e-3)  # its weights are fp16
        assert answer.missing == tuple(n for n in ("speech", "text", "vision") if n not in names)


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ({"text": np.zeros(3)}, r"an array \[3\]: expected \[4\], or \[T, 4\]"),
        ({"text": np.zeros((0, 4))}, r"\[0, 4\]"),
        ({"text": np.full(4, np.nan)}, "NaN"),
        ({"text": "hello"}, "expected numbers"),
        ({"smell": np.zeros(4)}, "takes those of speech, text, vision"),
        ({}, "expected features"),
    ],
)
def test_other_features_are_refused(bundle, features, said):
    with pytest.raises(DataError, match=said):
        Predictor(bundle[1]).predict_features(features)


def test_media_are_refused_by_a_bundle_of_features(bundle):
    predictor = Predictor(bundle[1])
    with pytest.raises(DataError, match=r"expected precomputed features of .*predict_features"):
        predictor.predict(text="hello")
    with pytest.raises(DataError):
        predictor.predict(speech=np.full(16000, 0.1, np.float32))
    with pytest.raises(DataError):
        predictor.predict_clip(Clip("1", features={"text": "f.npz#t/0"}))
