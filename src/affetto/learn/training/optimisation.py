"""What moves the weights: parameter groups, the rate, averaged weights, and what stands still."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grad_norm_, clip_grads_with_norm_, get_total_norm

from affetto.errors import ConfigError
from affetto.learn.training.fsdp import as_held, own


def parameter_groups(
    model: nn.Module, weight_decay: float, *, backbone_rate: float = 1.0, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """AdamW groups of the trainable parameters: matrices and filters decay; biases, norms, scales do not.

    A parameter of one dimension is a bias, a scale or a single learned token, and a vote's table holds
    strengths: decay would only pull them to 0. `scale` is a group's share of the rate: 1, but in a pretrained
    backbone `backbone_rate`, times `layer_decay` for every layer above (Howard and Ruder 2018, "ULMFiT").
    """
    backbones = {path: module for path, module in model.named_modules() if hasattr(module, "depth_of")}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale = 1.0
            for path, backbone in backbones.items():
                if _within(name, path):
                    depth = backbone.depth_of(name[len(path) + 1 :])  # type: ignore[operator]
                    scale = backbone_rate * layer_decay**depth
            decays = parameter.ndim > 1 and not name.startswith("votes.")
            groups.setdefault((scale, decays), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if decays else 0.0, "scale": scale}
        for (scale, decays), parameters in groups.items()
    ]


def learning_rate(step: int, total: int, peak: float, warmup: float, schedule: str = "cosine") -> float:
    """The rate of a step (from 0): a straight rise over the share `warmup`, then down as `schedule` says.

    "cosine" (Loshchilov and Hutter 2017, "SGDR") and "linear" end at 0, "constant" stays. "one-cycle" (Smith
    and Topin 2019, "Super-Convergence") rises and falls in half cosines, from a 25th of the peak to nearly
    nothing. A function of the step alone: a resumed run has nothing to restore.
    """
    rise = round(warmup * total)
    progress = min((step - rise) / max(total - rise, 1), 1.0)
    if step < rise:
        if schedule == "one-cycle":
            return _cosine(peak / 25, peak, step / rise)
        return peak * (step + 1) / rise
    if schedule == "constant":
        return peak
    if schedule == "linear":
        return peak * (1.0 - progress)
    return _cosine(peak, peak / 25e4 if schedule == "one-cycle" else 0.0, progress)


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))


def clip_gradient(parameters: Sequence[nn.Parameter], limit: float) -> Tensor:
    """Scale the gradients of all parameters down to a norm of `limit`. Returns the norm that they had."""
    learning = [parameter for parameter in parameters if parameter.grad is not None]
    shared = [parameter for parameter in learning if isinstance(parameter, DTensor)]
    if not shared:
        return clip_grad_norm_(learning, limit)
    kinds = shared, [parameter for parameter in learning if not isinstance(parameter, DTensor)]
    norms = [get_total_norm([cast(Tensor, parameter.grad) for parameter in kind]) for kind in kinds if kind]
    norm = torch.linalg.vector_norm(
        torch.stack([x.full_tensor() if isinstance(x, DTensor) else x for x in norms])
    )
    for kind in kinds:
        clip_grads_with_norm_(kind, limit, norm)
    return norm


def freeze(model: nn.Module, prefixes: Sequence[str]) -> None:
    """Stop the gradients of every parameter whose name begins with a prefix; let all others learn.

    A module may name in `fixed` those parameters of its own that never learn.
    Raises ConfigError `config_invalid` when a prefix names nothing, or nothing is left to learn.
    """
    names = [name for name, _ in model.named_parameters()]
    for prefix in prefixes:
        if not any(_within(name, prefix) for name in names):
            tops = ", ".join(sorted({".".join(name.split(".")[:2]) for name in names}))
            raise ConfigError(
                "config_invalid", f"freeze: {prefix!r} names no part of the model; it has {tops}"
            )
    fixed = {f"{path}.{n}" for path, module in model.named_modules() for n in getattr(module, "fixed", ())}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in fixed and not any(_within(name, prefix) for prefix in prefixes))
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("config_invalid", f"freeze: {', '.join(prefixes)} leaves nothing to train")


def set_training_mode(model: nn.Module, frozen: Sequence[str]) -> None:
    """Training mode for what learns; what is frozen has no dropout and keeps its batch statistics."""
    model.train()
    for name, module in model.named_modules():
        if name and any(_within(name, prefix) for prefix in frozen):
            module.eval()


class AveragedWeights:
    """An exponential moving average of a model's trainable weights and running statistics.

    Polyak and Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging". Early on the decay is
    lower, (1 + t) / (10 + t), so that the first random weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay, self._updates = decay, 0
        self._average = {name: value.detach().clone() for name, value in _averaged(model).items()}

    def update(self, model: nn.Module) -> None:
        """Take in the weights as they are now."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        current = _averaged(model)
        averages = [own(self._average[name]) for name in current]
        with torch.no_grad():
            torch._foreach_lerp_(averages, [own(value.detach()) for value in current.values()], 1 - decay)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """The model with averaged weights, for as long as the block lasts."""
        current = _averaged(model)
        kept = {name: value.detach().clone() for name, value in current.items()}
        _assign(current, self._average)
        try:
            yield
        finally:
            _assign(current, kept)

    def copy_to(self, model: nn.Module) -> None:
        """Leave the model with the averaged weights."""
        _assign(_averaged(model), self._average)

    def state(self) -> dict[str, object]:
        """What a checkpoint keeps."""
        return {"updates": self._updates, "average": dict(self._average)}

    def load(self, state: Mapping[str, object]) -> None:
        """Go on from a checkpoint's state."""
        self._updates = int(state["updates"])  # type: ignore[call-overload]
        _assign(self._average, state["average"])  # type: ignore[arg-type]


def _averaged(model: nn.Module) -> dict[str, Tensor]:
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {
        name: value
        for name, value in model.state_dict(keep_vars=True).items()
        if value.is_floating_point() and name not in frozen
    }


def _assign(targets: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(as_held(values[name], target))


def _within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix.rstrip(".") + ".")
