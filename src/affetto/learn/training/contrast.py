"""The contrastive objective: the towers of a batch brought into one space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from affetto.errors import ConfigError
from affetto.learn import losses
from affetto.learn.config import ContrastiveConfig
from affetto.learn.models.recogniser import Output, Recogniser
from affetto.records import Batch, Track


class Towers(Protocol):
    """What the losses learn of the fusion "towers": one over the temperature, and the bias of a pair's odds."""

    scale: Tensor
    bias: Tensor


def towers_of(recogniser: Recogniser) -> Towers:
    """The model's towers. Raises ConfigError `config_invalid` when it has none."""
    if not hasattr(recogniser.fusion, "scale"):
        raise ConfigError(
            "config_invalid",
            "a contrastive stage needs towers: set model.fusion.name to towers, or leave out its contrastive",
        )
    return cast(Towers, recogniser.fusion)


def contrastive(
    output: Output,
    batch: Batch,
    config: ContrastiveConfig,
    towers: Towers,
    *,
    task: str,
    modalities: Sequence[str],
    step: int,
) -> Tensor:
    """The sum over pairs of modalities of the configured loss, and what it distils.

    A row takes part where its modality is present and, for positives by label, where it carries one. `step`
    tells `alternating` whose turn it is.
    """
    rows = {name: _Rows.of(output, batch, name, task, config.positives) for name in modalities}
    if config.loss == "supervised":
        x = torch.cat([side.values for side in rows.values()])
        found = losses.supervised_contrastive(
            x, torch.cat([side.groups for side in rows.values()]), towers.scale
        )
    else:
        pairs = list(combinations(rows, 2))
        found = torch.stack(
            [
                _distance(output, task, pair, config)
                if config.loss == "distance"
                else _pairwise(rows[pair[0]], rows[pair[1]], config, towers, step)
                for pair in pairs
            ]
        ).sum()
    if not config.distillation:
        return found
    taught = _taught(output, towers.scale * rows["vision"].values.T, "text" if "text" in rows else "vision")
    return losses.distilled(found, taught, config.contrast, config.distillation)


def invariance(first: Output, second: Output, towers: Towers, modalities: Sequence[str]) -> Tensor:
    """`nt_xent` between two passes of the same clips, summed over modalities: what augmentation and dropout
    change is to mean nothing."""
    found = []
    for name in modalities:
        there = first.present[name]
        found.append(
            losses.nt_xent(first.embeddings[name][there], second.embeddings[name][there], towers.scale)
        )
    return torch.stack(found).sum()


def forward_in_chunks(recogniser: Recogniser, inputs: Mapping[str, Track], chunk: int) -> Output:
    """The output for a batch, of which `chunk` rows are encoded at a time, forwards and again backwards.

    Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup": only what the
    loss reads is kept, and the rest is computed a second time, with the same random numbers, when its gradient
    is there; but for the front end of speech, which has no weights and is computed once. Loss and gradients are
    those of the whole batch; batch normalisation alone sees chunks.
    """
    rows = len(next(iter(inputs.values())).mask)
    parts: list[Output] = [
        _checkpointed(recogniser, _cut(inputs, start, start + chunk)) for start in range(0, rows, chunk)
    ]
    first = parts[0]
    return Output(
        logits={
            task: {view: torch.cat([part.logits[task][view] for part in parts]) for view in views}
            for task, views in first.logits.items()
        },
        weights={name: torch.cat([part.weights[name] for part in parts]) for name in first.weights},
        embeddings={name: torch.cat([part.embeddings[name] for part in parts]) for name in first.embeddings},
        present={name: torch.cat([part.present[name] for part in parts]) for name in first.present},
    )


def _checkpointed(recogniser: Recogniser, inputs: Mapping[str, Track]) -> Output:
    front_end = getattr(dict(recogniser.encoders.items()).get("speech"), "front_end", None)
    if front_end is None or "speech" not in inputs:
        return cast(Output, checkpoint(recogniser, inputs, use_reentrant=False))
    heard = front_end(inputs["speech"].values, inputs["speech"].mask)

    def encoded() -> Output:
        with _answering(front_end, heard):
            return recogniser(inputs)

    return cast(Output, checkpoint(encoded, use_reentrant=False))


@contextmanager
def _answering(module: nn.Module, answer: object) -> Iterator[None]:
    """The module gives this answer, whatever it is asked."""
    module.forward = lambda *_: answer  # type: ignore[method-assign]
    try:
        yield
    finally:
        del module.forward


class _Rows:
    """The embeddings of one modality that take part, [N D], and the group [N] that each belongs to."""

    def __init__(self, values: Tensor, groups: Tensor) -> None:
        self.values, self.groups = values, groups

    @staticmethod
    def of(output: Output, batch: Batch, name: str, task: str, positives: str) -> _Rows:
        there, values = output.present[name], output.embeddings[name]
        if positives == "label":
            there = there & batch.target_mask[task]
            groups = batch.targets[task].argmax(dim=1)
        else:
            groups = torch.arange(len(values), device=values.device)
        return _Rows(values[there], groups[there])


def _pairwise(a: _Rows, b: _Rows, config: ContrastiveConfig, towers: Towers, step: int) -> Tensor:
    positives = a.groups[:, None] == b.groups[None]
    scale = towers.scale
    if config.loss == "sigmoid":
        return losses.sigmoid_pairwise(a.values, b.values, scale, towers.bias, positives)
    if config.loss == "alternating":
        return losses.alternating(a.values, b.values, scale, step, positives)
    if config.loss == "nt_xent":
        return losses.nt_xent(a.values, b.values, scale, positives)
    return losses.symmetric(a.values, b.values, scale, positives)


def _taught(output: Output, view: Tensor, teacher: str) -> Tensor:
    """How far speech is from seeing the batch's pictures, `view` [D N], as the `teacher` beside it does."""
    there = output.present["speech"] & output.present[teacher]
    heard, known = output.embeddings["speech"][there], output.embeddings[teacher][there]
    return losses.distillation_loss(heard @ view, known @ view, temperature=1.0)


def _distance(output: Output, task: str, pair: tuple[str, str], config: ContrastiveConfig) -> Tensor:
    s, t = pair
    there = output.present[s] & output.present[t]
    logits = output.logits[task]
    return losses.distance_and_divergence(
        output.embeddings[s][there], output.embeddings[t][there],
        logits[s][there], logits[t][there], config.divergence,
    )  # fmt: skip


def _cut(inputs: Mapping[str, Track], start: int, stop: int) -> dict[str, Track]:
    rows = slice(start, stop)
    return {
        name: Track(track.values[rows], track.mask[rows], None if track.times is None else track.times[rows])
        for name, track in inputs.items()
    }
