"""Adapters: every one learns, acts in evaluation, and merges into what it was; also where PEFT's would be mute."""

import copy

import peft
import pytest
import torch
import transformers
from torch import nn

from affetto.errors import ConfigError
from affetto.learn.layers.lora import (
    add_adapter,
    load_adapter,
    merge_adapters,
    save_adapter,
    silent_adapters,
    target_leaves,
    use_adapter,
)
from backbones import FAMILIES


class Attends(nn.Module):
    """torch's own attention, which reads the weight of `out_proj`."""

    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.inner(x, x, x, need_weights=False)[0]


class Fused(nn.Module):
    """torch's own Transformer, which in evaluation runs as one operator on raw weights."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.inner = nn.TransformerEncoder(layer, 2)

    def forward(self, x):
        return self.inner(x)


def hugging_face(family):
    _, name, sizes = FAMILIES[family]
    config = getattr(transformers, f"{name}Config")(**sizes)
    model = getattr(transformers, f"{name}Model")(config)
    if family == "bert":
        model.pooler = None  # nobody reads it
    return model


def said(model, family):
    torch.manual_seed(1)
    if family in ("attends", "fused"):
        return model(torch.randn(2, 5, 8))
    if FAMILIES[family][0] == "text":
        return model(torch.randint(5, 12, (2, 6))).last_hidden_state
    return model(torch.randn(2, 4000)).last_hidden_state


def make(family):
    torch.manual_seed(0)
    made = {"attends": Attends, "fused": Fused}
    return (made[family]() if family in made else hugging_face(family)).eval().requires_grad_(False)


CASES = [
    ("bert", ("attention",)),
    ("bert", ("all-linear",)),
    ("gpt2", ("all-linear",)),
    ("llama", ("q_proj", "v_proj")),
    ("wav2vec2", ("attention",)),
    ("wavlm", ("attention",)),
    ("wavlm", ("all-linear",)),
    ("attends", ("out_proj",)),
    ("fused", ("all-linear",)),
]


def stirred(model):
    """As after training: no B is zero any more."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.5)
    return model


@pytest.mark.filterwarnings("ignore:Support for mismatched")
@pytest.mark.parametrize(("family", "targets"), CASES)
def test_every_adapter_learns_acts_and_merges(family, targets):
    model = make(family)
    with torch.no_grad():
        before = said(model, family)
    frozen = {name: value.clone() for name, value in model.state_dict().items()}
    add_adapter(model, rank=2, alpha=4.0, targets=targets)
    with torch.no_grad():
        assert torch.allclose(said(model, family), before, atol=1e-6)  # a fresh adapter changes nothing
    stirred(model)
    said(model.train(), family).square().sum().backward()
    assert silent_adapters(model) == []
    assert all(("lora_" in n) == p.requires_grad for n, p in model.named_parameters())
    model.eval()
    with torch.no_grad():
        adapted = said(model, family)
        assert (adapted - before).abs().max() > 1e-3
        use_adapter(model, None)
        assert torch.allclose(said(model, family), before, atol=1e-6)
        use_adapter(model, "default")
        merge_adapters(model)
        assert torch.allclose(said(model, family), adapted, atol=1e-5)
    merged = model.state_dict()
    assert merged.keys() == frozen.keys()
    changed = {name for name in frozen if not torch.equal(merged[name], frozen[name])}
    assert changed == {f"{leaf}.weight" for leaf in target_leaves(make(family), targets)} & changed
    assert changed


def test_peft_alone_is_mute_in_wavlm():
    """Why there is a second way: should this ever fail, the first one will do."""
    _, name, sizes = FAMILIES["wavlm"]
    model = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**sizes))
    peft.inject_adapter_in_model(peft.LoraConfig(r=2, target_modules=["k_proj"]), model)
    said(model, "wavlm").sum().backward()
    assert silent_adapters(model)


def test_adapters_are_saved_alone_and_several_share_a_base(tmp_path):
    model = make("bert")
    states = {}
    for place, name in enumerate(("angry", "calm")):
        add_adapter(model, rank=2 + place, alpha=3.0, targets=("attention",), name=name)
        torch.manual_seed(place)
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if "lora_B" in key and name in key:
                    parameter.normal_()
            states[name] = said(model, "bert")
        save_adapter(model, tmp_path / name, name, source="base")
    other = make("bert")
    for name in states:
        load_adapter(other, tmp_path / name, name)
    for name, state in states.items():
        use_adapter(other, name)
        with torch.no_grad():
            assert torch.allclose(said(other, "bert"), state, atol=1e-6), name
    size = sum(file.stat().st_size for file in (tmp_path / "angry").iterdir())
    assert size < 8000


def test_peft_reads_what_was_saved(tmp_path):
    model = make("bert")
    add_adapter(model, rank=2, alpha=4.0, targets=("all-linear",))
    stirred(model)
    save_adapter(model, tmp_path, source="base")
    theirs = peft.PeftModel.from_pretrained(make("bert"), tmp_path).eval()
    with torch.no_grad():
        assert torch.allclose(said(theirs, "bert"), said(model, "bert"), atol=1e-6)


def test_a_model_with_parametrised_weights_can_be_copied():
    model = make("fused")
    add_adapter(model, rank=2, alpha=4.0, targets=("all-linear",))
    stirred(model)
    twin = copy.deepcopy(model)
    merge_adapters(twin)  # and the copy may be merged without harm to the first
    with torch.no_grad():
        assert torch.allclose(said(twin, "fused"), said(model, "fused"), atol=1e-5)


def test_targets_that_name_nothing_are_refused_with_those_that_exist():
    with pytest.raises(ConfigError, match=r"c_attn.*some of: query, key, value, dense"):
        add_adapter(make("bert"), rank=2, alpha=4.0, targets=("c_attn",))
    with pytest.raises(ConfigError, match=r"some of: none"):
        add_adapter(nn.Conv1d(1, 1, 1), rank=2, alpha=4.0, targets=("all-linear",))


def test_dropout_is_refused_where_nothing_can_be_dropped():
    with pytest.raises(ConfigError, match=r"lora.dropout 0.1: encoder.layers.0.attention"):
        add_adapter(make("wavlm"), rank=2, alpha=4.0, dropout=0.1, targets=("attention",))


def test_a_folder_without_an_adapter_and_one_of_another_model_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds no adapter"):
        load_adapter(make("bert"), tmp_path)
    model = make("llama")
    add_adapter(model, rank=2, alpha=4.0, targets=("q_proj",))
    save_adapter(model, tmp_path)
    with pytest.raises(ConfigError, match="q_proj"):
        load_adapter(make("bert"), tmp_path)
