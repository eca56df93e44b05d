"""The prefix fusion: a language model that hears and sees."""

import pytest
import torch

from affetto.errors import ConfigError
from affetto.learn.config import (
    BackboneConfig,
    FusionConfig,
    LoraConfig,
    ModelConfig,
    SpeechConfig,
    TaskConfig,
    TextConfig,
)
from affetto.learn.fusion import FUSED
from affetto.learn.models.build import add_adapters, backbones, build_recogniser
from affetto.learn.models.recogniser import VOTE
from affetto.records import Track
from backbones import WORDS, write_backbone


def model(folder, family="gpt2", lora=None):
    path = str(write_backbone(folder, family))
    config = ModelConfig(
        dim=16,
        speech=SpeechConfig(channels=(4, 4, 6), n_mels=16),
        text=TextConfig(
            name="pretrained", dropout=0.0, backbone=BackboneConfig(path, layer=0, pooling="steps")
        ),
        fusion=FusionConfig(name="prefix", dropout=0.0, backbone=BackboneConfig(path, lora=lora)),
        tasks=(TaskConfig("emotion", labels=("a", "b")),),
    )
    made = build_recogniser(config)
    add_adapters(made, config)
    return made.eval()


@pytest.fixture
def inputs():
    torch.manual_seed(1)
    heard, read = torch.ones(2, 16000, dtype=torch.bool), torch.ones(2, 8, dtype=torch.bool)
    heard[1, 9000:], read[1, 5:] = False, False
    return {
        "speech": Track(torch.randn(2, 16000) * 0.1, heard),
        "text": Track(torch.randint(2, len(WORDS), (2, 8)), read),
    }


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_the_text_hears_and_padding_takes_no_place(tmp_path, inputs, family):
    recogniser = model(tmp_path, family)
    with torch.no_grad():
        both = recogniser(inputs).embeddings[FUSED]
        text = recogniser({"text": inputs["text"]}).embeddings[FUSED]
        short = {name: Track(t.values[1:, t.mask[1]], t.mask[1:, t.mask[1]]) for name, t in inputs.items()}
        one = recogniser(short).embeddings[FUSED]
    assert (both - text).abs().max() > 1e-3
    assert torch.allclose(both[1], one[0], atol=1e-5)


def test_the_text_alone_is_what_the_language_model_reads(tmp_path, inputs):
    recogniser = model(tmp_path)
    language = recogniser.fusion.backbone.model
    ids, mask = inputs["text"].values[:1], inputs["text"].mask[:1]
    with torch.no_grad():
        theirs = recogniser.fusion.out(language(ids, attention_mask=mask.long()).last_hidden_state[:, -1])
        ours = recogniser({"text": Track(ids, mask)}).embeddings[FUSED]
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_its_adapter_learns_from_what_is_heard(tmp_path, inputs):
    recogniser = model(tmp_path, lora=LoraConfig(rank=2))
    recogniser.train()(inputs).logits["emotion"][VOTE].square().sum().backward()
    assert backbones(recogniser)["fusion"].silent() == []
    assert recogniser.encoders["speech"].gather.conv.weight.grad.abs().sum() > 0


def test_a_row_without_anything_is_finite_and_absent(tmp_path, inputs):
    nothing = {name: Track(t.values, torch.zeros_like(t.mask)) for name, t in inputs.items()}
    with torch.no_grad():
        output = model(tmp_path)(nothing)
    assert torch.isfinite(output.logits["emotion"][VOTE]).all()
    assert not output.present[FUSED].any()


def test_a_model_that_cannot_be_told_places_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="a roberta cannot read a prefix"):
        model(tmp_path, "roberta")
