"""LoRA: a low-rank correction beside pretrained weights (Hu et al. 2022), the only thing that then learns.

PEFT wraps a linear layer and adds the correction to what comes out. Three modules never call the layer: they
read its weight, and an adapter of that kind changes nothing and gets no gradient, without an error. There the
weight itself is parametrised, W + (alpha / rank) B A, which whoever reads it gets to see.

B begins at zero: a fresh adapter changes nothing. QLoRA (4-bit weights) needs a GPU's kernels and is not here.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers.pytorch_utils import Conv1D

from affetto.errors import ConfigError

#: Modules that read the raw weights of the linear layers within them.
READS_WEIGHTS = ("WavLMAttention", "MultiheadAttention", "TransformerEncoderLayer")

_ATTENTION = re.compile(r"(^|\.)(self_)?(attention|attn)(\.|$)")
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."


class LowRank(nn.Module):
    """A weight [out in] plus the active adapter's correction; for `torch.nn.utils.parametrize`."""

    def __init__(self) -> None:
        super().__init__()
        self.lora_A = nn.ParameterDict()
        self.lora_B = nn.ParameterDict()
        self.scaling: dict[str, float] = {}
        self.active: str | None = None

    def add(self, weight: Tensor, rank: int, alpha: float, name: str) -> None:
        """One more adapter, and the active one from now on."""
        self.lora_A[name] = nn.Parameter(
            nn.init.kaiming_uniform_(weight.new_empty(rank, weight.shape[1]), 5**0.5)
        )
        self.lora_B[name] = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        self.scaling[name], self.active = alpha / rank, name

    def forward(self, weight: Tensor) -> Tensor:
        """[out in] -> [out in]."""
        if self.active is None:
            return weight
        return weight + self.scaling[self.active] * self.lora_B[self.active] @ self.lora_A[self.active]


def add_adapter(
    model: nn.Module,
    *,
    rank: int,
    alpha: float,
    dropout: float = 0.0,
    targets: tuple[str, ...] = ("attention",),
    name: str = "default",
) -> None:
    """Put an adapter into a model, and make it the active one.

    targets: "attention" (the linear layers of attention), "all-linear", or names of layers ("query"; the end of
    a dotted name). Raises ConfigError `config_invalid` when they name no linear layer, and for dropout where a
    weight is parametrised: there is no input to drop from.
    """
    leaves = target_leaves(model, targets)
    raw = [leaf for leaf in leaves if _is_read(model, leaf)]
    if raw and dropout > 0.0:
        raise ConfigError(
            "config_invalid",
            f"lora.dropout {dropout:g}: {raw[0]} is not called, its weight is read, so nothing can be dropped; "
            "set it to 0, or name other lora.targets",
        )
    wrapped = [leaf for leaf in leaves if leaf not in raw]
    if wrapped:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # several are meant
            inject_adapter_in_model(_peft_config(model, wrapped, rank, alpha, dropout), model, name)
    for leaf in raw:
        module = model.get_submodule(leaf)
        if not parametrize.is_parametrized(module, "weight"):
            parametrize.register_parametrization(module, "weight", LowRank())
        low_rank, original = _low_rank(module)
        low_rank.add(original, rank, alpha, name)
    use_adapter(model, name)


def target_leaves(model: nn.Module, targets: tuple[str, ...]) -> list[str]:
    """Dotted names of the linear layers that `targets` mean. Raises ConfigError `config_invalid` for none."""
    linear = [name for name, module in _linear(model)]
    found = [leaf for leaf in linear if any(_meant(leaf, target) for target in targets)]
    unknown = [target for target in targets if not any(_meant(leaf, target) for leaf in linear)]
    if unknown or not found:
        ends = ", ".join(dict.fromkeys(leaf.rsplit(".", 1)[-1] for leaf in linear)) or "none"
        raise ConfigError(
            "config_invalid",
            f"lora.targets {', '.join(unknown)}: the backbone has no such linear layer; expected attention, "
            f"all-linear or some of: {ends}",
        )
    return found


def use_adapter(model: nn.Module, name: str | None) -> None:
    """Let one adapter act and learn, the others not; None leaves the pretrained model alone."""
    for _, module in _adapted(model):
        if isinstance(module, LoraLayer):
            module.enable_adapters(name is not None)
            if name is not None:
                module.set_adapter(name)
        else:
            low_rank, _ = _low_rank(module)
            low_rank.active = name
            for other, parameter in (*low_rank.lora_A.items(), *low_rank.lora_B.items()):
                parameter.requires_grad_(other == name)


def merge_adapters(model: nn.Module) -> None:
    """Write the active adapter into the weights, in place, and leave a model as it was before adapters."""
    for leaf, module in list(_adapted(model)):
        if isinstance(module, LoraLayer):
            if not module.disable_adapters:
                module.merge()
            model.set_submodule(leaf, module.get_base_layer())
        else:
            _unparametrise(module)


def _unparametrise(module: nn.Module) -> None:
    """Give a layer its corrected weight for good. torch's own way takes the weight from the layer's copies, too:
    they share the class that it made for the first of them."""
    weight = module.weight.detach()  # type: ignore[union-attr, operator]
    del module.parametrizations
    module.__class__ = type(module).__bases__[0]
    module.register_parameter("weight", nn.Parameter(weight, requires_grad=False))


def silent_adapters(model: nn.Module) -> list[str]:
    """After a backward pass: the layers whose active adapter got no gradient, and so can never learn."""
    return [leaf for leaf, (_, b) in _matrices(model, None).items() if b.requires_grad and b.grad is None]


def save_adapter(
    model: nn.Module, folder: str | Path, name: str = "default", *, source: str | None = None
) -> None:
    """Write one adapter alone, in the layout that PEFT and the hub read; `source` is the model that it is for."""
    found = _matrices(model, name)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for leaf, (a, b) in found.items():
        tensors[f"{_PREFIX}{leaf}.lora_A.weight"] = a.detach().cpu().contiguous()
        tensors[f"{_PREFIX}{leaf}.lora_B.weight"] = b.detach().cpu().contiguous()
    safetensors.torch.save_file(tensors, folder / _WEIGHTS)
    rank = next(iter(found.values()))[0].shape[0]
    config = _peft_config(model, list(found), rank, rank * _scaling(model, name), 0.0).to_dict()
    config |= {"target_modules": sorted(config["target_modules"]), "base_model_name_or_path": source}
    (folder / _CONFIG).write_text(json.dumps(config, indent=2, default=str) + "\n", encoding="utf-8")


def load_adapter(model: nn.Module, folder: str | Path, name: str = "default") -> None:
    """Put an adapter that was saved alone into a model, beside those it has, and make it the active one.

    Raises ConfigError `config_invalid` when the folder holds no adapter, or one of another model.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        tensors = safetensors.torch.load_file(folder / _WEIGHTS)
        rank, alpha, targets = config["r"], config["lora_alpha"], tuple(config["target_modules"])
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise ConfigError(
            "config_invalid", f"{folder} holds no adapter ({error}): expected {_CONFIG} and {_WEIGHTS}"
        ) from error
    add_adapter(model, rank=rank, alpha=alpha, targets=targets, name=name)
    with torch.no_grad():
        for leaf, (a, b) in _matrices(model, name).items():
            for matrix, letter in ((a, "A"), (b, "B")):
                stored = tensors.get(f"{_PREFIX}{leaf}.lora_{letter}.weight")
                if stored is None or stored.shape != matrix.shape:
                    raise ConfigError(
                        "config_invalid", f"{folder} is the adapter of another model: see {leaf}"
                    )
                matrix.copy_(stored)


def _linear(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Linear layers by the name they have without adapters."""
    for name, module in model.named_modules():
        bare = isinstance(module, (nn.Linear, Conv1D)) and ".lora_" not in name and "base_layer" not in name
        if isinstance(module, LoraLayer) or bare:
            yield name, module


def _meant(leaf: str, target: str) -> bool:
    if target == "all-linear":
        return True
    if target == "attention":
        return _ATTENTION.search(leaf) is not None
    return leaf == target or leaf.endswith(f".{target}")


def _is_read(model: nn.Module, leaf: str) -> bool:
    parent = leaf.rpartition(".")[0]
    return type(model.get_submodule(parent)).__name__ in READS_WEIGHTS


def _peft_config(model: nn.Module, leaves: list[str], rank: int, alpha: float, dropout: float) -> LoraConfig:
    transposed = any(isinstance(module, Conv1D) for module in model.modules())
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]
        lora_dropout=dropout,
        target_modules=leaves,
        fan_in_fan_out=transposed,
    )


def _adapted(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer) or (
            parametrize.is_parametrized(module, "weight")
            and isinstance(
                module.parametrizations.weight[0],
                LowRank,  # type: ignore[union-attr, index]
            )
        ):
            yield name, module


def _low_rank(module: nn.Module) -> tuple[LowRank, Tensor]:
    """The parametrisation of a layer's weight, and the weight without it."""
    weight: Any = module.parametrizations.weight  # type: ignore[union-attr]
    return weight[0], weight.original


def _matrices(model: nn.Module, name: str | None) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer to A [rank in] and B [out rank] of an adapter; of the active one for None."""
    found: dict[str, tuple[Any, Any]] = {}
    for leaf, module in _adapted(model):
        if isinstance(module, LoraLayer):
            wanted = name or module.active_adapters[0]
            if wanted in module.lora_A:
                found[leaf] = (module.lora_A[wanted].weight, module.lora_B[wanted].weight)
        else:
            low_rank, _ = _low_rank(module)
            chosen = name or low_rank.active
            if chosen is not None and chosen in low_rank.lora_A:
                found[leaf] = (low_rank.lora_A[chosen], low_rank.lora_B[chosen])
    return found


def _scaling(model: nn.Module, name: str) -> float:
    """alpha / rank of an adapter."""
    module = next(module for _, module in _adapted(model))
    return module.scaling[name] if isinstance(module, LoraLayer) else _low_rank(module)[0].scaling[name]
