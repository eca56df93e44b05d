"""A batch dealt out to the ranks, and what they said of it brought together again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from affetto.learn import ranks
from affetto.learn.models.recogniser import Output
from affetto.records import Batch, Track


def own_rows(batch: Batch) -> Batch:
    """This rank's rows, and behind them as many empty ones as it takes for all ranks to have the same number.

    Padding and modalities stay those of the whole batch, so that every rank runs the same parts of the model
    equally often.
    """
    if ranks.count() == 1:
        return batch
    total = len(batch.ids)
    own = ranks.share(total)
    most = -(-total // ranks.count())
    places = torch.arange(own.start, own.start + most)
    rows = places.clamp(max=total - 1)
    return replace(
        batch,
        inputs={name: _cut(track, rows, places < own.stop) for name, track in batch.inputs.items()},
        targets={name: values[rows] for name, values in batch.targets.items()},
        target_mask={name: mask[rows] for name, mask in batch.target_mask.items()},
        ids=batch.ids[own],
    )


def of_all_ranks(output: Output, total: int) -> Output:
    """What all ranks say of a batch of `total` rows, in one message: gradients come back in one, too."""
    if ranks.count() == 1:
        return output
    found = {("logits", task, view): x for task, views in output.logits.items() for view, x in views.items()}
    found.update({("weights", task, ""): x for task, x in output.weights.items()})
    found.update({("embeddings", view, ""): x for view, x in output.embeddings.items()})
    found.update({("present", view, ""): x for view, x in output.present.items()})
    columns = [x.float().flatten(1) if x.ndim > 1 else x.float()[:, None] for x in found.values()]
    message = ranks.gather_rows(torch.cat(columns, dim=1), total)
    parts = message.split([part.shape[1] for part in columns], dim=1)
    whole = {
        key: part.reshape(total, *x.shape[1:]).to(x.dtype)
        for (key, x), part in zip(found.items(), parts, strict=True)
    }
    return Output(
        {
            task: {view: whole["logits", task, view] for view in views}
            for task, views in output.logits.items()
        },
        {task: whole["weights", task, ""] for task in output.weights},
        {view: whole["embeddings", view, ""] for view in output.embeddings},
        {view: whole["present", view, ""] for view in output.present},
    )


def targets_of_all_ranks(targets: Mapping[str, Tensor], total: int) -> dict[str, Tensor]:
    """Targets [b ...] of the ranks' rows, as those of the batch."""
    return {name: ranks.gather_rows(values, total) for name, values in targets.items()}


def _cut(track: Track, rows: Tensor, there: Tensor) -> Track:
    times = None if track.times is None else track.times[rows]
    mask = track.mask[rows]
    return Track(track.values[rows], mask & there[:, None].to(mask.device), times)
