"""A shipped bundle adapted to one's own clips, a few of each class: its encoders stay, its heads move a little.

A linear head of a view says l = W h + b of its vector h [D]. Adapting it adds dW and db, drawn towards nothing:
the loss is the cross-entropy plus strength / 2 * (|dW|^2 + |db|^2), the penalty of Li et al. 2018, "Explicit
Inductive Bias for Transfer Learning with Convolutional Networks" (L2-SP). The strength is the one that foresees
left-out clips best; where none does better than the shipped head, that one stays: few clips must not hurt.
A view that the bundle's vector scaling moves, class by class, is adapted as it is answered: its scaling becomes
part of the head. Calibration is fitted again where enough clips are held out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from affetto.bundle import (
    FUSION,
    Bundle,
    BundleInfo,
    Calibration,
    CorpusInfo,
    TaskInfo,
    part_file,
    subset_key,
)
from affetto.errors import AffettoError, ConfigError, DataError
from affetto.evaluation.metrics import uar
from affetto.features.text import load_tokenizer
from affetto.learn.config import TaskConfig
from affetto.learn.decoders.heads import LinearHead
from affetto.learn.export.calibrate import Labelled, fit_calibration, refitted, without_vectors
from affetto.learn.export.card import Card, render_card
from affetto.learn.export.folder import write_bundle_folder
from affetto.learn.export.onnx import export_fusion
from affetto.learn.export.parts import Inputs, Parts
from affetto.learn.export.quantise import quantise_dynamic
from affetto.learn.export.writer import (
    PARITY,
    README,
    load_config,
    load_model,
    rounded,
    weight_files,
    with_calibration,
)
from affetto.learn.models.recogniser import VOTE, Recogniser
from affetto.learn.training.media_cache import ClipKey, MediaCache
from affetto.learn.training.targets import person, single_label
from affetto.records import MODALITIES, Clip

#: How hard the head is held, for vectors centred and scaled to a mean square length of 1: from free to fixed.
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)
FOLDS = 5
_STEPS = 60  # of L-BFGS; the loss is convex

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class HeadChange:
    """What is added to a linear head: `weight` [C D], `bias` [C]; None as `strength` is no change at all.

    left_out: the logits [N C] of each clip by a head that has not seen it.
    """

    weight: Doubles
    bias: Doubles
    strength: float | None
    left_out: Doubles

    def __call__(self, vectors: Doubles) -> Doubles:
        """What is added to the logits of vectors [N D]: [N C]."""
        return vectors @ self.weight.T + self.bias


@dataclass(frozen=True)
class Adapted:
    """The bundle, and UAR before and after: on `clips` held-out clips, or where there were none on the clips
    themselves, each answered by heads that had not seen it (`held_out` False). `unreadable` clips, by (corpus,
    id), were left out."""

    bundle: Bundle
    before: float
    after: float
    clips: int
    held_out: bool
    unreadable: Mapping[ClipKey, AffettoError]


def adapt_head(vectors: Doubles, logits: Doubles, targets: NDArray[np.int64]) -> HeadChange:
    """The change of a head that says `logits` [N C] of `vectors` [N D], for clips of the classes `targets` [N].

    The strength is chosen by cross-validation over `FOLDS` folds with every class in each, as far as it goes.
    """
    folds = _folds(targets)
    best, best_loss, best_left_out = None, _loss(logits, targets), np.asarray(logits, np.float64)
    for strength in STRENGTHS:
        left_out = np.array(logits, np.float64)
        for fold in np.unique(folds):
            seen, unseen = folds != fold, folds == fold
            if seen.any():
                weight, bias = _fit(vectors[seen], logits[seen], targets[seen], strength)
                left_out[unseen] += vectors[unseen] @ weight.T + bias
        if (loss := _loss(left_out, targets)) < best_loss:
            best, best_loss, best_left_out = strength, loss, left_out
    weight, bias = _fit(vectors, logits, targets, best)
    return HeadChange(weight, bias, best, best_left_out)


def adapt_bundle(
    bundle: Bundle,
    clips: Sequence[Clip],
    out: str | Path,
    *,
    name: str,
    licence: str = "as given",
    leaks: Sequence[str] = (),
) -> Adapted:
    """Adapt the heads of a bundle's emotion to the clips of the split "train" (or of none), and write it.

    Clips of other splits are held out, to say before and after on, and to calibrate on where there are enough.
    Encoders and the other tasks stay. `leaks` are those that were allowed, in words. Raises DataError
    `label_unknown`, `corpus_unreadable`, `nothing_to_predict` (also for clips of a single emotion); ConfigError
    `config_invalid` for a bundle whose heads are not linear; BundleError as `write_bundle_folder`.
    """
    task = bundle.info.task("emotion")
    model = load_model(bundle)
    if task is None or not all(isinstance(_head(model, view), LinearHead) for view in task.views):
        raise ConfigError(
            "config_invalid", f"{bundle.path}: only linear heads of the task emotion can be adapted"
        )
    train = read_items(bundle, [clip for clip in clips if clip.split in (None, "train")], task)
    if len(emotions := {*train.targets}) == 1:
        raise DataError(
            "nothing_to_predict",
            f"every clip to adapt to is {task.labels[emotions.pop()]!r}, so the heads would learn to say nothing "
            "else; add clips of other emotions",
        )
    held_out = [clip for clip in clips if clip.split not in (None, "train")]
    test = read_items(bundle, held_out, task) if held_out else None
    heard = answers_of(bundle, train, task)
    changes = {
        view: adapt_head(answers.vectors, answers.logits, train.targets[answers.rows])
        for view, answers in heard.items()
        if view != VOTE
    }
    moved = _moved(changes)
    for view, change in changes.items():
        lean = _lean(bundle, task, view, [view] if view in moved else [])
        _apply(cast(LinearHead, _head(model, view)), lean, change)
    corpora = (*bundle.info.corpora, CorpusInfo(name=name, licence=licence, clips=len(train.targets)))
    told = {
        "name": name,
        "corpora": corpora,
        "leaks": (*bundle.info.leaks, *leaks),
        "calibration": without_vectors(bundle.info.calibration, [task.name], moved),
    }
    adapted = _write(bundle, model, out, bundle.info.model_copy(update=told))
    if test is None:
        view = max(changes, key=lambda name: len(heard[name].rows))
        said = (heard[view].logits, changes[view].left_out)
        before, after = (uar(train.targets[heard[view].rows], logits.argmax(axis=1)) for logits in said)
        return Adapted(adapted, before, after, len(heard[view].rows), False, train.unreadable)
    before, after = (score(each, test, task) for each in (bundle, adapted))
    adapted = _calibrated(adapted, test, task)
    return Adapted(adapted, before, after, len(test.targets), True, {**train.unreadable, **test.unreadable})


def score(bundle: Bundle, items: Items, task: TaskInfo) -> float:
    """UAR of a bundle's vote."""
    vote = answers_of(bundle, items, task)[VOTE]
    return uar(items.targets[vote.rows], vote.logits.argmax(axis=1))


@dataclass(frozen=True)
class Items:
    """Clips with one known class of a task that could be read: their classes [N]; and what was left out."""

    clips: tuple[Clip, ...]
    targets: NDArray[np.int64]
    cache: MediaCache
    unreadable: Mapping[ClipKey, AffettoError]

    def inputs(self) -> Iterator[Inputs]:
        """Each clip as the parts of a bundle take it."""
        return (self.cache.inputs(clip) for clip in self.clips)


def read_items(bundle: Bundle, clips: Sequence[Clip], task: TaskInfo) -> Items:
    """The clips that have one class of the task and a modality of the bundle's, decoded.

    Raises DataError `label_unknown`, `corpus_unreadable`; `nothing_to_predict` where none is left.
    """
    wanted = TaskConfig(task.name, labels=task.labels)
    config, modalities = load_config(bundle), set(bundle.info.parts.modalities())
    labelled = [
        (clip, label)
        for clip in clips
        if (label := single_label(clip, wanted)) is not None and modalities & set(clip.modalities())
    ]
    cache = MediaCache(config, load_tokenizer(bundle.read("tokenizer.json")) if config.text else None)
    unreadable = cache.add([clip for clip, _ in labelled])
    kept = [(clip, label) for clip, label in labelled if (clip.corpus, clip.id) not in unreadable]
    if not kept:
        raise DataError(
            "nothing_to_predict", f"no clip with a known {task.name} that the model reads: add some"
        )
    targets = np.array([task.labels.index(label) for _, label in kept], np.int64)
    return Items(tuple(clip for clip, _ in kept), targets, cache, unreadable)


@dataclass(frozen=True)
class ViewAnswers:
    """What a view says of the clips in `rows` [N]: the vectors [N D] that its head reads, its logits [N C] after
    what vector scaling does beside the temperature: for a view that of its modality alone, for the vote the item's."""

    rows: NDArray[np.int64]
    vectors: Doubles
    logits: Doubles


def answers_of(bundle: Bundle, items: Items, task: TaskInfo) -> dict[str, ViewAnswers]:
    """What each view of a task says of the items that it reads, and the vote.

    `fused` is asked of items with several modalities: of one alone, that one's view knows best.
    """
    precision = bundle.precisions()[0]
    names = (*bundle.info.parts.modalities(), FUSION)
    parts = Parts({part: bundle.read_part(part, precision) for part in names})
    tracks = parts.encode_items(items.inputs())
    outputs = [parts.fuse(track) for track in tracks]
    found = {}
    for view in (*task.views, VOTE):
        rows = [row for row, track in enumerate(tracks) if _answers(view, [*track])]
        if rows:
            vectors = [outputs[row].get(f"embedding.{view}", np.zeros((1, 0)))[0] for row in rows]
            logits = []
            for row in rows:
                scale, bias = _lean(bundle, task, view, [*tracks[row]] if view == VOTE else [view])
                logits.append(outputs[row][f"{task.name}.{view}"][0] * scale + bias)
            found[view] = ViewAnswers(np.array(rows), np.array(vectors, float), np.array(logits, float))
    return found


def _lean(bundle: Bundle, task: TaskInfo, view: str, given: Sequence[str]) -> tuple[Doubles, Doubles]:
    """What a bundle's vector scaling of a view does beside its temperature, where a subset of modalities is given:
    the logits are multiplied by scale [C] and bias [C] is added, 1 and 0 where there is none."""
    by_subset = bundle.info.calibration.get(bundle.precisions()[0], {}).get(task.name, {})
    calibration = by_subset.get(subset_key(given), Calibration())
    vector, temperature = calibration.vectors.get(view), calibration.temperatures.get(view, 1.0)
    if vector is None:
        return np.ones(len(task.labels)), np.zeros(len(task.labels))
    return temperature * np.array(vector.scale), temperature * np.array(vector.bias)


def _moved(changes: Mapping[str, HeadChange]) -> Sequence[str]:
    """The modalities whose answers change with their heads; a view that mixes them has a say in all."""
    views = [view for view, change in changes.items() if change.strength is not None]
    return views if set(views) <= set(MODALITIES) else MODALITIES


def _answers(view: str, given: Sequence[str]) -> bool:
    if view == VOTE:
        return bool(given)
    return view in given if view in MODALITIES else len(given) > 1


def _fit(
    vectors: Doubles, logits: Doubles, targets: NDArray[np.int64], strength: float | None
) -> tuple[Doubles, Doubles]:
    """The change of weight [C D] and bias [C] that a strength leaves; zeros for None."""
    classes, width = logits.shape[1], vectors.shape[1]
    if strength is None:
        return np.zeros((classes, width)), np.zeros(classes)
    centre = vectors.mean(axis=0)
    scale = float(np.sqrt(((vectors - centre) ** 2).sum(axis=1).mean())) or 1.0
    x = torch.from_numpy((vectors - centre) / scale)
    change = nn.Linear(width, classes, dtype=torch.float64)
    nn.init.zeros_(change.weight)
    nn.init.zeros_(change.bias)
    base, target = torch.from_numpy(np.asarray(logits, np.float64)), torch.from_numpy(targets)
    optimiser = torch.optim.LBFGS(change.parameters(), max_iter=_STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        held = change.weight.square().sum() + change.bias.square().sum()
        loss = F.cross_entropy(base + change(x), target, reduction="sum") + strength / 2 * held
        loss.backward()
        return loss

    optimiser.step(closure)
    weight = change.weight.detach().numpy() / scale
    return weight, change.bias.detach().numpy() - weight @ centre


def _folds(targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """A fold for each clip; the clips of a class are dealt out one after the other."""
    folds = np.zeros(len(targets), np.int64)
    for label in np.unique(targets):
        rows = np.flatnonzero(targets == label)
        folds[rows] = (np.arange(len(rows)) + label) % FOLDS
    return folds


def _loss(logits: Doubles, targets: NDArray[np.int64]) -> float:
    return float(F.cross_entropy(torch.from_numpy(np.asarray(logits, np.float64)), torch.from_numpy(targets)))


def _head(model: Recogniser, view: str) -> nn.Module:
    return cast(nn.ModuleDict, model.heads["emotion"])[view]


def _apply(head: LinearHead, lean: tuple[Doubles, Doubles], change: HeadChange) -> None:
    """The head's logits times the scale, plus the bias of a lean, plus the change."""
    scale, bias, dw, db = (
        torch.from_numpy(values).to(head.out.weight.dtype) for values in (*lean, change.weight, change.bias)
    )
    with torch.no_grad():
        head.out.weight.mul_(scale[:, None]).add_(dw)
        head.out.bias.mul_(scale).add_(bias + db)


def _write(bundle: Bundle, model: Recogniser, out: str | Path, info: BundleInfo) -> Bundle:
    """The bundle with the model's heads: its fusion made anew, its encoders byte for byte."""
    twin = rounded(model)
    fusion = export_fusion(twin)
    made = {"fp32": fusion, "int8": quantise_dynamic(fusion).model}
    files = {file: bundle.read(file) for file in bundle.info.files}
    files |= {part_file(FUSION, precision): made[precision] for precision in bundle.precisions()}
    files |= weight_files(twin)
    files[README] = render_card(info, _card(info, ()), json.loads(files.get(PARITY, b"{}"))).encode()
    return write_bundle_folder(out, info, files)


def _calibrated(bundle: Bundle, items: Items, task: TaskInfo) -> Bundle:
    """The bundle, written again with calibration for the subsets of modalities that enough items have."""
    shares = np.eye(len(task.labels))[items.targets]
    labelled = [
        Labelled(given, {task.name: share}, person(clip))
        for given, share, clip in zip(items.inputs(), shares, items.clips, strict=True)
    ]
    fitted = fit_calibration(bundle, labelled)
    subsets = sorted({subset for tasks in fitted.values() for subset in tasks.get(task.name, {})})
    calibration = refitted(bundle.info.calibration, fitted)
    return with_calibration(bundle, bundle.path, calibration, _card(bundle.info, subsets))


def _card(info: BundleInfo, calibrated: Sequence[str]) -> Card:
    """What the card of an adapted bundle says; `calibrated` are the subsets whose calibration is of held-out clips."""
    *_, corpus = info.corpora
    subsets = f"but for {', '.join(calibrated)}, fitted on held-out clips, " if calibrated else ""
    return Card(
        trained=f"The heads were adapted to the {corpus.clips} clips of {corpus.name}, the last corpus named.",
        limits=(
            f"Calibration, {subsets}and the comparison of exported parts are those of the bundle it began as.",
        ),
    )
