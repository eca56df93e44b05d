"""Joining the other processes of a run. Who starts them: `affetto train`, torchrun, or a cluster's own tools."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed

from affetto.errors import ConfigError, TrainingError


def started() -> int:
    """How many processes were started as ranks of one group, this one among them; 1 where it is alone."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def on_this_machine() -> int:
    """How many of them run here."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def accelerator(devices: int) -> str:
    """Lightning's name of what a run of so many devices computes on: GPUs where each rank has one, else the CPU."""
    if devices < 2:
        return "auto" if devices else "cpu"
    return "cuda" if torch.cuda.device_count() >= on_this_machine() else "cpu"


@contextmanager
def joined(devices: int) -> Iterator[None]:
    """One of the ranks for as long as the block lasts (nccl on GPUs, gloo on CPUs); nothing for one device.

    Raises ConfigError `config_invalid` when this process was started alone; TrainingError `process_lost`, in
    the block, when another rank is gone.
    """
    if devices < 2:
        yield
        return
    if started() == 1:
        raise ConfigError(
            "config_invalid",
            f"train.devices is {devices}, but this is one process: start the run by `affetto train`, or by "
            f"torchrun --nproc-per-node {devices}",
        )
    gpus = accelerator(devices) == "cuda"
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if gpus else "gloo")
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        raise TrainingError(
            "process_lost",
            "another process of the run has ended: what it said stands above; --resume goes on from the last "
            "checkpoint",
        ) from error
    finally:
        distributed.destroy_process_group()
