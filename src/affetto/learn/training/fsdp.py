"""Pretrained backbones in shares: every rank holds a part of their weights, gradients and averages.

Zhao et al. 2023, "PyTorch FSDP", in torch's second form, `fully_shard`. A layer's weights are brought together
when it is run, forwards and backwards, and given back after it; what is not a layer, such as the table of
embeddings, is together from the forward to the backward pass. The rest of the model is small, and DDP's.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from affetto.errors import ConfigError
from affetto.learn import ranks
from affetto.learn.models.build import backbones
from affetto.learn.models.recogniser import Recogniser


@contextmanager
def in_shares(recogniser: Recogniser) -> Iterator[None]:
    """The backbones are held in shares for as long as the block lasts, and by every rank afterwards, on the CPU.

    They stay in shares when the block raises: ranks that went separate ways have nothing to bring together.
    """
    mesh = init_device_mesh(ranks.device().type, (ranks.count(),))
    places = {name: name if name == "fusion" else f"encoders.{name}" for name in backbones(recogniser)}
    plain: dict[str, nn.Module] = {}
    for name, backbone in backbones(recogniser).items():
        part = recogniser.get_submodule(places[name])
        plain[name] = _without_weights(part)
        _share_out(part, backbone, mesh)
    yield
    for name, part in plain.items():
        weights = whole(recogniser.get_submodule(places[name]).state_dict())
        part.load_state_dict(weights, assign=True)
        recogniser.set_submodule(places[name], part)


def leave_out_shares(module: nn.Module) -> None:
    """Tell DDP which weights of a module are none of its business: those that are held in shares.

    Raises ConfigError `config_invalid` when nothing else learns: DDP has to have something.
    """
    shares = [name for name, value in module.named_parameters() if isinstance(value, DTensor)]
    rest = [value for value in module.parameters() if not isinstance(value, DTensor)]
    if shares and not any(value.requires_grad for value in rest):
        raise ConfigError(
            "config_invalid",
            "train.sharding full: something beside the backbone has to learn in a stage; take the heads out of "
            "its freeze, or set train.sharding to none",
        )
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, shares)


def whole(state: Any, *, keep: bool = True) -> Any:
    """A state of nested dicts and lists with each tensor in one piece, on the CPU where it was in shares.

    All ranks have to ask; one that does not `keep` it gets None for every tensor that was in shares.
    """
    if isinstance(state, Mapping):
        return {name: whole(part, keep=keep) for name, part in state.items()}
    if isinstance(state, list):
        return [whole(part, keep=keep) for part in state]
    if not isinstance(state, DTensor):
        return state
    # Lightning leaves a trained model on the CPU, where nccl cannot gather.
    there = cast(DTensor, state.detach().to(state.device_mesh.device_type))
    found = there.full_tensor()
    return found.cpu() if keep else None


def as_held(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, which every rank has, in shares where `like` is held so and is as large."""
    if not isinstance(like, DTensor) or isinstance(value, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def own(value: Tensor) -> Tensor:
    """What this rank holds of a tensor, in place."""
    return value.to_local() if isinstance(value, DTensor) else value


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Whole weights into a model that may be held in shares."""
    held = model.state_dict()
    model.load_state_dict({name: as_held(value, held[name]) for name, value in weights.items()})


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """A whole state into an optimiser of parameters that may be held in shares."""
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    held = {
        place: {name: as_held(value, trained[place]) for name, value in values.items()}
        for place, values in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": held})


def _share_out(part: nn.Module, backbone: Any, mesh: DeviceMesh) -> None:
    """Share out the backbone of a part of a model: each of its layers, then what is left of it.

    The part is what is run, and so what brings that rest together: an encoder may run its backbone in pieces.
    """
    for layer in backbone.layers:
        fully_shard(layer, mesh=mesh)
    pretrained = set(backbone.parameters())
    fully_shard(part, mesh=mesh, ignored_params={x for x in part.parameters() if x not in pretrained})
    part.register_forward_hook(_give_back)


def _give_back(part: nn.Module, *_: Any) -> None:
    """Without a backward pass nothing else would, and the next step would meet the weights of a validation."""
    if not torch.is_grad_enabled():
        cast(FSDPModule, part).reshard()


def _without_weights(part: nn.Module) -> nn.Module:
    """A copy of a part of a model that is all there but for the weights."""
    empty = {
        id(value): nn.Parameter(torch.empty_like(value, device="meta"), value.requires_grad)
        for value in part.parameters()
    }
    return copy.deepcopy(part, empty)
