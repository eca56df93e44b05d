"""Pretrained backbones: tiny ones of every family, opened from a folder as any other, without a network."""

import shutil
from dataclasses import replace

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers

from affetto.errors import ConfigError
from affetto.features.text import encode, load_tokenizer
from affetto.learn.config import (
    BackboneConfig,
    FusionConfig,
    LoraConfig,
    ModelConfig,
    SpeechConfig,
    TaskConfig,
    TextConfig,
    VisionConfig,
)
from affetto.learn.encoders.pretrained.backbone import pooled
from affetto.learn.encoders.pretrained.source import open_backbone, open_tokenizer
from affetto.learn.export.quantise import quantise_dynamic
from affetto.learn.export.stored import is_rounded
from affetto.learn.export.writer import Facts, load_model, remake_parts, write_bundle
from affetto.learn.models.build import add_adapters, backbones, build_recogniser, learn_corrections
from affetto.learn.training.optimisation import freeze, parameter_groups
from affetto.predictor import open_session
from affetto.records import Track
from backbones import FAMILIES, WORDS, write_backbone

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched")
SECTIONS = {"speech": SpeechConfig, "text": TextConfig, "vision": VisionConfig}
LENGTHS = {"speech": (9000, 5000), "text": (9, 5), "vision": (5, 3)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}

    def folder(family):
        if family not in made:
            made[family] = write_backbone(tmp_path_factory.mktemp(family), family)
        return str(made[family])

    return folder


def config(path, modality, dim=8, **backbone) -> ModelConfig:
    section = SECTIONS[modality](name="pretrained", backbone=BackboneConfig(path, **backbone))
    task = TaskConfig("emotion", labels=("a", "b"))
    return ModelConfig(dim=dim, fusion=FusionConfig(name="late"), tasks=(task,), **{modality: section})


def batch(modality):
    """Two rows, the second shorter."""
    torch.manual_seed(3)
    most, fewer = LENGTHS[modality]
    mask = torch.ones(2, most, dtype=torch.bool)
    mask[1, fewer:] = False
    if modality == "speech":
        return Track(torch.randn(2, most) * 0.1, mask)
    if modality == "text":
        return Track(torch.randint(2, len(WORDS), (2, most)), mask)
    return Track(torch.rand(2, most, 3, 32, 32), mask, torch.arange(most).expand(2, -1) * 0.5)


def alone(track, row=1):
    keep = track.mask[row]
    times = None if track.times is None else track.times[row, keep][None]
    return Track(track.values[row, keep][None], keep[keep][None], times)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_reads_its_medium_alone_as_in_a_batch(folders, family):
    modality = FAMILIES[family][0]
    encoder = build_recogniser(config(folders(family), modality)).eval().encoders[modality]
    track = batch(modality)
    with torch.no_grad():
        both, one = encoder(track), encoder(alone(track))
        absent = encoder(replace(track, mask=torch.zeros_like(track.mask)))
    assert both.values.shape == (*both.mask.shape, 8)
    steps = int(one.mask.sum())
    assert both.mask[1].sum() == steps > 0
    assert torch.allclose(both.values[1, :steps], one.values[0, :steps], atol=3e-6)
    assert not both.values[1, steps:].any()
    assert torch.isfinite(absent.values).all()
    assert not absent.mask.any()
    if modality == "speech":
        assert encoder.rate == 50.0
        assert torch.allclose(both.times[0].diff(), torch.tensor(0.02), atol=1e-6)
    if family == "videomae":
        assert torch.allclose(both.times[0, :2], torch.tensor([0.25, 1.25]))


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "whisper"])
def test_the_states_are_those_of_the_original(folders, family):
    """Against transformers itself, with the processor that lies beside the weights, on one whole item."""
    modality = FAMILIES[family][0]
    width = 16
    encoder = (
        build_recogniser(config(folders(family), modality, dim=width, pooling=None)).eval().encoders[modality]
    )
    model = transformers.AutoModel.from_pretrained(folders(family)).eval()
    track = alone(batch(modality), 0)
    with torch.no_grad():
        ours = encoder(track).values
        if modality == "text":
            theirs = model(track.values).last_hidden_state
            theirs = theirs[:, -1:] if family in ("gpt2", "llama", "qwen2") else theirs
        elif modality == "speech":
            processor = transformers.AutoFeatureExtractor.from_pretrained(folders(family))
            inputs = processor(track.values[0].numpy(), sampling_rate=16000, return_tensors="pt")
            theirs = model(inputs["input_values"]).last_hidden_state
        else:
            pixels = (track.values[0] - 0.5) / 0.25
            if family == "videomae":
                # The last picture fills up the last turn of four.
                pixels = torch.cat([pixels, pixels[-1:].expand(3, -1, -1, -1)]).unflatten(0, (2, 4))
                theirs = model(pixels).last_hidden_state.unflatten(1, (2, -1)).mean(2).flatten(0, 1)[None]
            else:
                states = model(pixels).last_hidden_state
                theirs = (states.mean((2, 3)) if family == "resnet" else states.mean(1))[None]
    steps = int(encoder(track).mask.sum())
    assert torch.allclose(ours[:, :steps], theirs[:, :steps], atol=1e-5)


@pytest.mark.parametrize("normalised", [False, True])
def test_whisper_hears_what_its_own_extractor_prepares(folders, tmp_path, normalised):
    path = str(tmp_path / "whisper")
    shutil.copytree(folders("whisper"), path)
    transformers.WhisperFeatureExtractor(
        feature_size=20, chunk_length=2, do_normalize=normalised
    ).save_pretrained(path)
    encoder = build_recogniser(config(path, "speech", dim=16)).eval().encoders["speech"]
    model = transformers.WhisperModel.from_pretrained(path).eval().get_encoder()
    processor = transformers.AutoFeatureExtractor.from_pretrained(path)
    track = alone(batch("speech"), 0)
    features = processor(
        track.values[0].numpy(), sampling_rate=16000, return_tensors="pt", do_normalize=normalised
    )["input_features"]
    with torch.no_grad():
        theirs, ours = model(features).last_hidden_state, encoder(track)
    real = ours.mask[0]
    assert torch.allclose(ours.values[0, real], theirs[0, : int(real.sum())], atol=2e-3)


def whisper(path, **settings):
    """The encoder, as wide as its backbone, so that its states are seen as they are."""
    model = config(path, "speech", dim=16, layer=settings.pop("layer", -1))
    return (
        build_recogniser(replace(model, speech=replace(model.speech, **settings))).eval().encoders["speech"]
    )


@pytest.mark.parametrize("layer", [-1, 1])
def test_whisper_without_padding_hears_the_clip_alone(folders, layer):
    """What fills its stretch of 2 s is heard alike, and a shorter clip alone as in a batch."""
    padded, bare = (whisper(folders("whisper"), layer=layer, padded=padded) for padded in (True, False))
    torch.manual_seed(0)
    samples = torch.randn(1, 32_000) * 0.1
    samples[:, -200:] = 0.0  # so that the mirror at the end shows silence, too
    whole = Track(samples, torch.ones_like(samples, dtype=torch.bool))
    with torch.no_grad():
        assert torch.allclose(bare(whole).values, padded(whole).values, atol=1e-5)
        both, one = bare(batch("speech")), bare(alone(batch("speech")))
        short = bare(Track(samples[:, :90], torch.ones(1, 90, dtype=torch.bool)))
        longer = bare(Track(samples.repeat(1, 2), torch.ones(1, 64_000, dtype=torch.bool)))
    assert both.mask.sum(dim=1).tolist() == [29, 16]
    assert torch.allclose(both.values[1, :16], one.values[0], atol=3e-6)
    assert not torch.allclose(one.values, padded(alone(batch("speech"))).values[:, :16], atol=1e-3)
    assert torch.equal(longer.values, bare(whole).values)
    assert short.values.shape[1] == 2
    assert short.mask.tolist() == [[True, False]]


def test_the_layers_above_the_one_that_is_read_are_let_go_of(folders):
    assert len(whisper(folders("whisper")).backbone.layers) == 2
    assert len(whisper(folders("whisper"), layer=1).backbone.layers) == 1
    assert len(whisper(folders("whisper"), layer=None).backbone.layers) == 2


def test_states_can_be_standardised(folders):
    plain, standardised = (
        whisper(folders("whisper"), layer=1, standardised=standardised) for standardised in (False, True)
    )
    with torch.no_grad():
        states, found = (encoder(alone(batch("speech"))).values for encoder in (plain, standardised))
    centred = states - states.mean(dim=2, keepdim=True)
    expected = centred / (centred.square().mean(dim=2, keepdim=True) + 1e-5).sqrt()
    assert torch.allclose(found, expected, atol=1e-5)


def test_low_rank_corrections_leave_a_frozen_backbone_alone(folders):
    model = build_recogniser(config(folders("whisper"), "speech"))
    learn_corrections(model, 2)
    corrected = {
        name.split(".parametrizations")[0] for name, _ in model.named_parameters() if name.endswith(".b")
    }
    assert "encoders.speech.out" in corrected
    assert not any("backbone" in name for name in corrected)


@pytest.mark.usefixtures("quick_export")
def test_a_bundle_can_hold_the_weights_of_its_int8_parts_once(folders, tmp_path):
    """Read back from the parts, they are the shipped weights but for rounding, and give such parts again."""
    plain = config(folders("whisper"), "speech", layer=1)
    model = replace(plain, speech=replace(plain.speech, padded=False, standardised=True))
    recogniser = build_recogniser(model).eval()
    with torch.no_grad():  # no two alike, or the exporter would keep one of them
        for weight in recogniser.encoders["speech"].backbone.parameters():
            weight.add_(torch.randn_like(weight) * 0.01)
    full = write_bundle(recogniser, model, tmp_path / "full", Facts("tiny", "1", "CC0"))
    assert full.info.parts.speech.window_seconds == 2.0
    once = remake_parts(full, tmp_path / "once", "int8", once=True)
    assert "speech.backbone.safetensors" in full.info.files
    assert "speech.backbone.safetensors" not in once.info.files
    assert once.read("speech.int8.onnx") == full.read("speech.int8.onnx")
    before, after = load_model(full).state_dict(), load_model(once).state_dict()
    assert all(is_rounded(after[name].float(), value.float()) for name, value in before.items())
    rounded = [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert any("fc1.weight" in name for name in rounded)
    assert any("conv2.weight" in name for name in rounded)
    again = remake_parts(once, tmp_path / "again", "fp32")
    assert "speech.backbone.safetensors" in again.info.files
    quantised = quantise_dynamic(again.read("speech.onnx")).model
    feeds = {"waveform": np.random.default_rng(0).normal(size=(1, 9000)).astype(np.float32)}
    feeds["mask"] = np.ones((1, 9000), bool)
    one, two = (
        open_session(part, "speech", 1).run(["values"], feeds)[0]
        for part in (quantised, once.read("speech.int8.onnx"))
    )
    assert np.abs(one - two).max() < 0.02 * np.abs(two).max()


@pytest.mark.parametrize("family", ["bert", "wavlm", "clip", "videomae"])
@pytest.mark.parametrize("layer", [-1, 1, None])
def test_a_model_is_rebuilt_from_its_form_without_its_files(folders, family, layer):
    modality = FAMILIES[family][0]
    wanted = config(folders(family), modality, layer=layer)
    model = build_recogniser(wanted).eval()
    elsewhere = config("/nowhere", modality, layer=layer)
    twin = build_recogniser(elsewhere, forms={name: b.form for name, b in backbones(model).items()}).eval()
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        one, two = (m.encoders[modality](batch(modality)).values for m in (model, twin))
    assert torch.equal(one, two)


@pytest.mark.parametrize("family", ["bert", "wavlm", "hubert", "whisper"])
def test_layers_are_read_and_mixed_by_their_weights(folders, family):
    modality = FAMILIES[family][0]
    states = []
    for layer in (0 if modality != "text" else 1, 1, 2, -1):
        encoder = build_recogniser(config(folders(family), modality, dim=16, layer=layer)).eval()
        with torch.no_grad():
            states.append(encoder.encoders[modality](batch(modality)).values)
    assert torch.allclose(states[2], states[3], atol=1e-6)
    assert not torch.allclose(states[1], states[2], atol=1e-3)
    mixed = build_recogniser(config(folders(family), modality, dim=16, layer=None)).eval().encoders[modality]
    with torch.no_grad():
        mixed.backbone.mix.copy_(torch.tensor([0.0, 100.0, 0.0]))
        assert torch.allclose(mixed(batch(modality)).values, states[1], atol=1e-5)


def test_layer_zero_of_a_text_is_its_words_alone(folders):
    encoder = (
        build_recogniser(config(folders("gpt2"), "text", dim=16, layer=0, pooling="steps"))
        .eval()
        .encoders["text"]
    )
    track = batch("text")
    with torch.no_grad():
        assert torch.equal(encoder(track).values[0], encoder.embedding(track.values[0]))
    assert not any(".h." in name for name, _ in encoder.named_parameters())


def test_pooling_by_hand():
    states = torch.arange(12.0).view(1, 4, 3)
    mask = torch.tensor([[True, True, True, False]])
    assert pooled(states, mask, "mean")[0].tolist() == [[[3.0, 4.0, 5.0]]]
    assert pooled(states, mask, "first")[0].tolist() == [[[0.0, 1.0, 2.0]]]
    assert pooled(states, mask, "last")[0].tolist() == [[[6.0, 7.0, 8.0]]]
    assert not pooled(states, mask, "steps")[0][0, 3].any()
    values, there = pooled(states, torch.zeros_like(mask), "last")
    assert not values.any()
    assert not there.any()


def test_what_learns(folders):
    def learning(**settings):
        model = build_recogniser(config(folders("bert"), "text", **settings))
        add_adapters(model, config(folders("bert"), "text", **settings))
        freeze(model, ())
        return {
            n.removeprefix("encoders.text.backbone.model.")
            for n, p in model.named_parameters()
            if p.requires_grad
        }

    base = {
        n
        for n, _ in transformers.AutoModel.from_pretrained(
            folders("bert"), add_pooling_layer=False
        ).named_parameters()
    }
    assert not learning() & base
    top = learning(trained_layers=1) & base
    assert top == {name for name in base if name.startswith("encoder.layer.1.")}
    assert learning(trained_layers=None) & base == base
    adapted = learning(lora=LoraConfig(rank=2))
    assert not adapted & base
    assert sum("lora_" in name for name in adapted) == 2 * 2 * 4  # A and B, two layers, four projections


def test_a_frozen_backbone_has_no_dropout_and_an_adapted_one_has(folders):
    frozen = build_recogniser(config(folders("bert"), "text")).train()
    assert not any(part.training for part in frozen.encoders["text"].backbone.model.modules())
    learning = build_recogniser(config(folders("bert"), "text", trained_layers=1)).train()
    assert all(part.training for part in learning.encoders["text"].backbone.model.modules())


def test_rates_fall_with_depth_and_heads_keep_theirs(folders):
    model = build_recogniser(config(folders("bert"), "text", trained_layers=None))
    freeze(model, ())
    groups = parameter_groups(model, 0.1, backbone_rate=0.1, layer_decay=0.5)
    scales = {id(p): group["scale"] for group in groups for p in group["params"]}
    by_name = {name: scales[id(p)] for name, p in model.named_parameters()}
    backbone = "encoders.text.backbone.model."
    assert by_name[f"{backbone}encoder.layer.1.output.dense.weight"] == pytest.approx(0.1)
    assert by_name[f"{backbone}encoder.layer.0.output.dense.weight"] == pytest.approx(0.05)
    assert by_name[f"{backbone}embeddings.word_embeddings.weight"] == pytest.approx(0.025)
    assert by_name["heads.emotion.text.out.weight"] == 1.0
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    still = {name for name, p in model.named_parameters() if decays[id(p)] == 0.0}
    assert {f"{backbone}embeddings.LayerNorm.weight", "heads.emotion.text.out.bias"} <= still


def test_gradient_checkpointing_changes_no_gradient(folders):
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = build_recogniser(
            config(folders("bert"), "text", trained_layers=None, gradient_checkpointing=checkpointing)
        )
        for part in model.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        model.train().encoders["text"](batch("text")).values.square().sum().backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-6) for name in found[0])


def test_the_tokenizer_comes_with_the_backbone(folders):
    tokenizer = load_tokenizer(open_tokenizer(folders("bert"), None))
    theirs = transformers.AutoTokenizer.from_pretrained(folders("bert"))
    text = "i am so angry today"
    assert encode(tokenizer, text, 20).tolist() == theirs(text)["input_ids"]


def test_local_weights_are_pinned_by_their_hash(folders):
    form = open_backbone(folders("bert"), None, "text")[1]
    assert form["revision"].startswith("sha256:")
    assert form["config"]["model_type"] == "bert"


def test_what_cannot_be_had_is_one_line_with_the_remedy(monkeypatch, tmp_path):
    # The environment is read once, when the hub is imported; without this a network would be waited for.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for path in ("nobody/no-such-model", str(tmp_path / "nothing")):
        with pytest.raises(ConfigError) as caught:
            open_backbone(path, None, "text")
        assert caught.value.code == "backbone_unavailable"
        assert "\n" not in str(caught.value)
        assert "give a folder with config.json, model.safetensors" in str(caught.value)


def test_pickled_weights_and_code_of_a_repository_are_never_run(folders, tmp_path):
    model = transformers.AutoModel.from_pretrained(folders("bert"))
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    model.config.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="safetensors"):
        open_backbone(str(tmp_path), None, "text")
    marker = tmp_path / "was_run"
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass C: pass\nclass M: pass\n")
    (tmp_path / "config.json").write_text(
        '{"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}}'
    )
    with pytest.raises(ConfigError):
        open_backbone(str(tmp_path), None, "text")
    assert not marker.exists()


def test_a_family_of_another_modality_is_refused_by_name(folders):
    with pytest.raises(ConfigError, match=r"is a wavlm: expected one of bert, .* to encode text"):
        open_backbone(folders("wavlm"), None, "text")


@pytest.mark.parametrize(
    ("family", "settings", "told"),
    [
        ("bert", {"layer": 7}, "model.text.backbone: layer 7: the backbone has 2 layers"),
        ("resnet", {"layer": 1}, "the stages of a ResNet differ in size"),
    ],
)
def test_what_does_not_fit_is_told_by_path(folders, family, settings, told):
    with pytest.raises(ConfigError) as caught:
        build_recogniser(config(folders(family), FAMILIES[family][0], **settings))
    assert told in str(caught.value)


def test_a_text_longer_than_the_positions_is_refused(folders):
    wanted = config(folders("bert"), "text")
    wanted = replace(wanted, text=replace(wanted.text, max_tokens=500))
    with pytest.raises(ConfigError, match="max_tokens 500: the backbone reads at most 80"):
        build_recogniser(wanted)


@pytest.mark.parametrize("text", [TextConfig("pretrained"), TextConfig("cnn", backbone=BackboneConfig("x"))])
def test_name_and_backbone_go_together(text):
    with pytest.raises(ConfigError, match=r"model\.text\.backbone: pretrained and prefix need one"):
        build_recogniser(ModelConfig(text=text))
