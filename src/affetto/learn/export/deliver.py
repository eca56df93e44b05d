"""From a finished run to its bundle: examples for int8, calibration on held-out people, facts for the card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from affetto.bundle import Bundle, BundleInfo, Calibration, CorpusInfo, Voice, open_bundle, part_file
from affetto.data.audit import check_leaks
from affetto.data.manifest import Corpus
from affetto.learn.config import ModelConfig
from affetto.learn.export.calibrate import Labelled, fit_calibration, refitted, without_vectors
from affetto.learn.export.card import Card
from affetto.learn.export.stacking import fit_votes
from affetto.learn.export.voice import fit_voice
from affetto.learn.export.writer import Facts, load_config, with_calibration, write_bundle
from affetto.learn.training.loop import FitResult
from affetto.learn.training.pairing import pair_by_label
from affetto.learn.training.randomness import generator
from affetto.learn.training.targets import person, single_label, target_of
from affetto.records import MODALITIES, Clip

#: Held-out clips of each modality that calibration hears, and clips composed of them for the other subsets.
MOST_CLIPS = 1500
MOST_COMPOSED = 700
#: Of these, how many give int8 its scales and its comparison with fp32.
EXAMPLES = 400
#: Recordings of speech, of people learnt from and of others, that are compared with sounds that are none.
MOST_RECORDINGS = 700


def deliver(
    result: FitResult,
    clips: Sequence[Clip],
    corpora: Sequence[Corpus],
    out: str | Path,
    *,
    version: str = "1",
) -> Bundle:
    """Write the run's bundle, its votes fitted anew to its validation clips where they are enough, and calibrated on
    them per precision and subset of modalities.

    Without validation clips int8 takes its scales from training clips; the bundle is not calibrated, and says
    so. A run that began with a bundle leaves what it did not touch: its other corpora, reserved people and
    languages, the parts of modalities that no stage trained, and calibration where it has too few clips of its
    own. Raises what `write_bundle` raises.
    """
    start = result.config.train.start_from
    base = open_bundle(start) if start is not None else None
    alike = base is not None and _without_tasks(load_config(base)) == _without_tasks(result.config.model)
    untouched = _untouched(result, base.info) if base is not None and alike else ()
    alone, composed = _chosen(result, clips, "validation")
    items = _labelled(result, alone, composed)
    fit_votes(result.recogniser, items)
    rng = generator(result.config.seed, "export")
    source = composed or alone or _chosen(result, clips, "train")[0]
    examples = [source[i] for i in rng.permutation(len(source))[:EXAMPLES]]
    bundle = write_bundle(
        result.recogniser,
        result.config.model,
        out,
        _facts(result, clips, corpora, version, None if base is None else base.info),
        tokenizer=None if result.tokenizer is None else result.tokenizer.to_str().encode(),
        examples=[result.cache.inputs(clip) for clip in examples],
        truth=_truth(result, examples),
        calibration=_known_calibration(base.info) if base is not None and alike else None,
        voice=_known_voice(base, untouched),
        kept=_part_files(base, untouched) if base else {},
    )
    if not alone:
        return bundle
    calibration = refitted(bundle.info.calibration, fit_calibration(bundle, items))
    voice = None if "speech" in untouched else _fitted_voice(result, clips, bundle)
    return with_calibration(bundle, out, calibration, _card(result), voice)


def _labelled(result: FitResult, alone: Sequence[Clip], composed: Sequence[Clip]) -> list[Labelled]:
    return [
        Labelled(
            result.cache.inputs(clip),
            {
                task.name: target
                for task in result.config.model.tasks
                if task.kind != "dimension" and (target := target_of(clip, task)) is not None
            },
            person(clip),
            of_several,
        )
        for some, of_several in ((alone, False), (composed, True))
        for clip in some
    ]


def _known_calibration(base: BundleInfo) -> dict[str, dict[str, dict[str, Calibration]]]:
    """The calibration of the bundle that the run began with, for heads that have all learnt on since."""
    return without_vectors(base.calibration, [task.name for task in base.tasks], MODALITIES)


def _known_voice(base: Bundle | None, untouched: Sequence[str]) -> Voice | None:
    """What tells a voice from other sounds for a speech part that is that of the bundle the run began with."""
    speech = base.info.parts.speech if base is not None and "speech" in untouched else None
    return speech.voice if speech is not None else None


def _fitted_voice(result: FitResult, clips: Sequence[Clip], bundle: Bundle) -> Voice | None:
    """What tells a voice from other sounds for the speech part that the run trained, if there is one."""
    if bundle.info.parts.speech is None:
        return None
    rng = generator(result.config.seed, "voice")
    learnt, held_out = (
        [result.cache.window(clip) for clip in _spoken(result, clips, splits, rng)]
        for splits in ((None, "train"), ("validation",))
    )
    return fit_voice(bundle, learnt, held_out, rng)


def _spoken(
    result: FitResult, clips: Sequence[Clip], splits: Sequence[str | None], rng: np.random.Generator
) -> list[Clip]:
    """Recordings of some splits, drawn at random."""
    there = [
        clip
        for clip in clips
        if clip.split in splits
        and "speech" in clip.modalities()
        and (clip.corpus, clip.id) not in result.unreadable
    ]
    return [there[i] for i in rng.permutation(len(there))[:MOST_RECORDINGS]]


def _without_tasks(model: ModelConfig) -> ModelConfig:
    return replace(model, tasks=())


def _untouched(result: FitResult, base: BundleInfo) -> tuple[str, ...]:
    """The modalities whose parts are those of the bundle that the run began with: no stage moved their encoders."""
    moved = {
        name
        for stage in result.config.train.stages
        for name in stage.modalities
        if not {"encoders", f"encoders.{name}"} & set(stage.freeze)
    }
    return tuple(name for name in base.parts.modalities() if name not in moved)


def _part_files(base: Bundle, modalities: Sequence[str]) -> dict[str, bytes]:
    """The files of parts, byte for byte."""
    files = [part_file(name, precision) for name in modalities for precision in base.precisions()]
    return {name: base.read(name) for name in files}


def _chosen(result: FitResult, clips: Sequence[Clip], split: str) -> tuple[list[Clip], list[Clip]]:
    """Clips of a split as they are, some of each modality, and clips with all modalities composed of them."""
    config = result.config
    known = [
        clip
        for clip in clips
        if clip.split in (split, None if split == "train" else split)
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
    if (
        not known
        or len(config.model.modalities) < 2
        or not any(stage.paired for stage in config.train.stages)
    ):
        return alone, []
    return alone, pair_by_label(known, rng, task=task, modalities=config.model.modalities, size=MOST_COMPOSED)


def _truth(result: FitResult, clips: Sequence[Clip]) -> list[int] | None:
    """The classes of the first task, where every clip has one."""
    task = result.config.model.tasks[0]
    classes = [single_label(clip, task) if task.kind == "single-label" else None for clip in clips]
    known = [name for name in classes if name is not None]
    return [task.labels.index(name) for name in known] if known and len(known) == len(classes) else None


def _facts(
    result: FitResult, clips: Sequence[Clip], corpora: Sequence[Corpus], version: str, base: BundleInfo | None
) -> Facts:
    config = result.config
    trained = [clip for clip in clips if clip.split in (None, "train")]
    # Text that is labelled with its language alone teaches what the model does not read.
    told = [clip for clip in trained if set(clip.labels) - {"language"}]
    written = {clip.language for clip in told if "text" in clip.modalities()}
    leaks = tuple(leak.message for leak in check_leaks(clips, allowed=config.data.allow_leaks))
    own = tuple(
        CorpusInfo(name=c.name, licence=c.licence, clips=sum(clip.corpus == c.name for clip in trained))
        for c in corpora
    )
    if base is not None:
        written |= set(base.parts.text.languages) if base.parts.text else set()
        own, leaks = (*base.corpora, *own), (*base.leaks, *leaks)
    return Facts(
        name=config.name,
        version=version,
        licence=config.licence or "; ".join(dict.fromkeys(corpus.licence for corpus in own)),
        languages=tuple(sorted(name for name in written if name)) or ("und",),
        corpora=own,
        reserved={**(base.reserved if base else {}), **config.data.reserved},
        leaks=leaks,
        card=_card(result),
    )


def _card(result: FitResult) -> Card:
    scores: Mapping[str, float] = result.scores
    lines = ", ".join(f"{name} {value:.3f}" for name, value in scores.items() if ".vote." not in name)
    return Card(
        trained=f"Experiment `{result.config.name}`, seed {result.config.seed}. On held-out people while "
        f"training: {lines or 'nothing measured'}.",
    )
