"""A pretrained model with its questions settled: which layer is read, which layers learn, and how deep they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn


class Backbone(nn.Module):
    """A Hugging Face model that gives one state per step.

    layer: the hidden state that is read, 0 the embeddings, -1 the last; None mixes all of them by learned
        weights (Peters et al. 2018, "ELMo").
    trained_layers: how many of its last layers learn; 0 freezes it, None lets all of it learn. With an adapter
        the adapter learns, and nothing else.
    pooling: what of the steps is kept; see `pooled`. None leaves it to the modality.

    Raises ValueError for a layer that the model does not have.
    """

    def __init__(
        self,
        model: nn.Module,
        form: Mapping[str, Any],
        *,
        layer: int | None = -1,
        trained_layers: int | None = 0,
        pooling: str | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.form = model, form
        self.layer, self.pooling, self.trained_layers = layer, pooling, trained_layers
        self.adapted = False
        self.blocks, self.depth = _blocks(model)
        if layer is not None and not -self.depth - 1 <= layer <= self.depth:
            raise ValueError(f"layer {layer}: the backbone has {self.depth} layers")
        if layer is None:
            self.mix = nn.Parameter(torch.zeros(self.depth + 1))
        if gradient_checkpointing:
            _checkpoint(model)

    @property
    def config(self) -> Any:
        """The architecture as Hugging Face keeps it."""
        return self.model.config

    @property
    def family(self) -> str:
        """What the architecture calls itself: "bert", "wavlm", ..."""
        return str(self.config.model_type)

    @property
    def width(self) -> int:
        """Features of a state."""
        sizes = getattr(self.config, "hidden_sizes", None)
        return int(sizes[-1] if sizes else self.config.hidden_size)

    @property
    def layers(self) -> nn.ModuleList:
        """From the first to the last."""
        return cast(nn.ModuleList, self.model.get_submodule(self.blocks))

    def forward(self, **inputs: Tensor) -> Tensor:
        """The model's own inputs by name. Returns the states of the layer that is read, as the model has them."""
        if self.layer == -1:
            return self.model(**inputs).last_hidden_state
        return self.read(self.model(**inputs, output_hidden_states=True).hidden_states)

    def keep_embeddings(self) -> None:
        """Let go of all layers: nothing but the table of embeddings is asked for."""
        del self.layers[:]

    def drop_unread(self) -> None:
        """Let go of the layers above the one that is read, and of the normalisation above them all."""
        if self.layer is None or self.layer % (self.depth + 1) == self.depth:
            return
        self.layer = self.depth = self.layer % (self.depth + 1)
        del self.layers[self.layer :]
        self.model.layer_norm = nn.Identity()

    def through(self, part: nn.Module, *args: Tensor, **inputs: Tensor) -> Tensor:
        """The states that are read when a part of the model, with all its layers in it, is run alone."""
        if self.layer == -1:
            return part(*args, **inputs).last_hidden_state
        states: list[Tensor] = []
        hooks = [self.layers[0].register_forward_pre_hook(lambda _, given: states.append(given[0]))]
        for block in self.layers[:-1]:
            hooks.append(block.register_forward_hook(lambda _, __, out: states.append(_first(out))))
        try:
            last = part(*args, **inputs).last_hidden_state
        finally:
            for hook in hooks:
                hook.remove()
        return self.read([*states, last])

    def read(self, states: Sequence[Tensor]) -> Tensor:
        """Of the embeddings and what each layer made of them, [depth + 1] states [B T W]: what is read."""
        if self.layer is not None:
            return states[self.layer]
        shares = torch.softmax(self.mix, dim=0)
        return torch.stack([share * x for share, x in zip(shares, states, strict=True)]).sum(dim=0)

    def adapt(self, *, rank: int, alpha: float, dropout: float, targets: tuple[str, ...]) -> None:
        """Put a LoRA adapter in; the pretrained weights stand still from then on."""
        from affetto.learn.layers.lora import add_adapter  # PEFT takes seconds to import

        add_adapter(self.model, rank=rank, alpha=alpha, dropout=dropout, targets=targets)
        self.adapted = True

    def merge(self) -> None:
        """Write the adapter into the weights: the model is then what it was built as."""
        if not self.adapted:
            return
        from affetto.learn.layers.lora import merge_adapters

        merge_adapters(self.model)
        self.adapted = False

    def silent(self) -> list[str]:
        """After a backward pass: the layers whose adapter got no gradient, and so can never learn."""
        from affetto.learn.layers.lora import silent_adapters

        return silent_adapters(self.model) if self.adapted else []

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter alone, in the layout that PEFT and the hub read."""
        from affetto.learn.layers.lora import save_adapter

        save_adapter(self.model, folder, source=str(self.form["path"]))

    @property
    def fixed(self) -> frozenset[str]:
        """Names of the parameters that no stage trains."""
        names = [f"model.{name}" for name, _ in self.model.named_parameters()]
        if self.adapted:
            return frozenset(name for name in names if "lora_" not in name)
        if self.trained_layers is None:
            return frozenset()
        first = self.depth - self.trained_layers
        learning = [place for place, name in enumerate(names) if self._block(name) >= max(first, 0)]
        # What comes after the last layers, such as a last normalisation, learns with them.
        return frozenset(names[: learning[0]] if self.trained_layers and learning else names)

    def depth_of(self, name: str) -> int:
        """How many layers lie above a parameter: 0 in the last layer, most in the embeddings."""
        if not name.startswith("model."):
            return 0
        block = self._block(name)
        if block >= 0:
            return self.depth - 1 - block
        names = [f"model.{other}" for other, _ in self.model.named_parameters()]
        above = next((i for i, other in enumerate(names) if self._block(other) >= 0), len(names))
        return self.depth if names.index(name) < above else 0

    def train(self, mode: bool = True) -> Backbone:
        """A backbone in which nothing learns has no dropout either."""
        frozen = not self.adapted and self.trained_layers == 0
        super().train(mode)
        self.model.train(mode and not frozen)
        return self

    def _block(self, name: str) -> int:
        """The layer that a parameter belongs to, -1 for none."""
        prefix = f"model.{self.blocks}."
        return int(name[len(prefix) :].split(".")[0]) if name.startswith(prefix) else -1


def _blocks(model: Any) -> tuple[str, int]:
    """Where the stack of layers stands in a model, and how many it has; a ResNet's layers are its stages."""
    lists = [(name, len(part)) for name, part in model.named_modules() if isinstance(part, nn.ModuleList)]
    wanted = getattr(model.config, "num_hidden_layers", None) or len(model.config.depths)
    return next((name, size) for name, size in lists if size == wanted and "feature_extractor" not in name)


def _checkpoint(model: Any) -> None:
    """transformers 5 renames what switches it on."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def _first(output: Any) -> Tensor:
    """What a layer says, without what it says beside it."""
    return output[0] if isinstance(output, tuple) else output


def pooled(states: Tensor, mask: Tensor, pooling: str) -> tuple[Tensor, Tensor]:
    """States [B T W] and mask [B T] as what is kept of them.

    "steps" keeps all, "mean" their mean, "first" the first (a `[CLS]`), "last" the last real one (all that a
    decoder has read). Returns [B T' W], zero where the mask [B T'] is False.
    """
    if pooling == "steps":
        return states * mask[..., None].to(states.dtype), mask
    there = mask.any(dim=1, keepdim=True)
    if pooling == "mean":
        keep = mask[..., None].to(states.dtype)
        one = (states * keep).sum(dim=1, keepdim=True) / keep.sum(dim=1, keepdim=True).clamp(min=1.0)
    elif pooling == "first":
        one = states[:, :1]
    else:
        last = torch.where(mask, torch.arange(mask.shape[1], device=mask.device), 0).amax(dim=1)
        one = states.gather(1, last[:, None, None].expand(-1, 1, states.shape[-1]))
    return one * there[..., None].to(states.dtype), there
