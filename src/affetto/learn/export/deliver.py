"""From a finished run to its bundle: examples for int8, calibration on held-out people, facts for the card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from affetto.bundle import Bundle, CorpusInfo
from affetto.data.corpora import licence_of
from affetto.learn.export.calibrate import Labelled, fit_calibration
from affetto.learn.export.card import Card
from affetto.learn.export.parts import Inputs
from affetto.learn.export.writer import Facts, with_calibration, write_bundle
from affetto.learn.training.loaders import RATE, WINDOW_SECONDS
from affetto.learn.training.loop import FitResult
from affetto.learn.training.media_cache import MediaCache
from affetto.learn.training.pairing import pair_by_label
from affetto.learn.training.randomness import generator
from affetto.learn.training.targets import single_label, target_of
from affetto.records import Clip

#: Held-out clips of each modality that calibration hears, and clips composed of them for the other subsets.
MOST_CLIPS = 1500
MOST_COMPOSED = 700
#: Of these, how many give int8 its scales and its comparison with fp32.
EXAMPLES = 200


def deliver(result: FitResult, clips: Sequence[Clip], out: str | Path, *, version: str = "1") -> Bundle:
    """Write the run's bundle, calibrated per precision and subset of modalities on its validation clips.

    Without validation clips the bundle is not calibrated, and says so. Raises what `write_bundle` raises.
    """
    alone, composed = _held_out(result, clips)
    rng = generator(result.config.seed, "export")
    source = composed or alone
    examples = [source[i] for i in rng.permutation(len(source))[:EXAMPLES]]
    bundle = write_bundle(
        result.recogniser,
        result.config.model,
        out,
        _facts(result, clips, version),
        tokenizer=None if result.tokenizer is None else result.tokenizer.to_str().encode(),
        examples=[prepared(clip, result.cache) for clip in examples],
        truth=_truth(result, examples),
    )
    if not alone:
        return bundle
    tasks = result.config.model.tasks
    items = [
        Labelled(
            prepared(clip, result.cache),
            {
                task.name: target
                for task in tasks
                if task.kind != "dimension" and (target := target_of(clip, task)) is not None
            },
        )
        for clip in [*alone, *composed]
    ]
    return with_calibration(bundle, out, fit_calibration(bundle, items), _card(result))


def prepared(clip: Clip, cache: MediaCache) -> Inputs:
    """What the parts read of a clip: its first window of speech [N], token ids [T], one face [1 3 S S]."""
    inputs: dict[str, np.ndarray] = {}
    for name in clip.modalities():
        if name == "speech" and name in cache.modalities:
            samples = cache.speech(clip)[: round(WINDOW_SECONDS * RATE)]
            inputs[name] = samples.astype(np.float32) / np.float32(32768.0)
        elif name == "text" and name in cache.modalities:
            inputs[name] = cache.tokens(clip)
        elif name == "vision" and name in cache.modalities:
            inputs[name] = np.ascontiguousarray(cache.face(clip)[None])
    return inputs


def _held_out(result: FitResult, clips: Sequence[Clip]) -> tuple[list[Clip], list[Clip]]:
    """Validation clips as they are, some of each modality, and clips with all modalities composed of them."""
    config = result.config
    known = [
        clip
        for clip in clips
        if clip.split == "validation"
        and (clip.corpus, clip.id) not in result.unreadable
        and set(clip.modalities()) & set(config.model.modalities)
    ]
    rng = generator(config.seed, "calibration")
    chosen: dict[tuple[str | None, str], Clip] = {}
    for name in config.model.modalities:
        pool = [clip for clip in known if name in clip.modalities()]
        picked = [pool[i] for i in rng.permutation(len(pool))[:MOST_CLIPS]]
        chosen.update({(clip.corpus, clip.id): clip for clip in picked})
    alone = list(chosen.values())
    task = config.model.tasks[0]
    if len(config.model.modalities) < 2 or not any(stage.paired for stage in config.train.stages):
        return alone, []
    return alone, pair_by_label(known, rng, task=task, modalities=config.model.modalities, size=MOST_COMPOSED)


def _truth(result: FitResult, clips: Sequence[Clip]) -> list[int] | None:
    """The classes of the first task, where every clip has one."""
    task = result.config.model.tasks[0]
    classes = [single_label(clip, task) if task.kind == "single-label" else None for clip in clips]
    known = [name for name in classes if name is not None]
    return [task.labels.index(name) for name in known] if known and len(known) == len(classes) else None


def _facts(result: FitResult, clips: Sequence[Clip], version: str) -> Facts:
    config = result.config
    trained = [clip for clip in clips if clip.split in (None, "train")]
    counts: dict[str, int] = {}
    for clip in trained:
        counts[clip.corpus or "manifest"] = counts.get(clip.corpus or "manifest", 0) + 1
    written = {clip.language for clip in trained if "text" in clip.modalities() and "emotion" in clip.labels}
    return Facts(
        name=config.name,
        version=version,
        licence=config.licence,
        languages=tuple(sorted(name for name in written if name)) or ("und",),
        corpora=tuple(
            CorpusInfo(name=name, licence=licence_of(name), clips=count) for name, count in counts.items()
        ),
        reserved=config.data.reserved,
        card=_card(result),
    )


def _card(result: FitResult) -> Card:
    scores: Mapping[str, float] = result.scores
    lines = ", ".join(f"{name} {value:.3f}" for name, value in scores.items() if ".vote." not in name)
    return Card(
        trained=f"Experiment `{result.config.name}`, seed {result.config.seed}. On held-out people while "
        f"training: {lines or 'nothing measured'}."
    )
