"""The clips of an experiment: read by the corpora's readers, split by speaker, reserved people set apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from affetto.data.corpora import read_corpus
from affetto.data.folds import Fold, Unit, make_folds
from affetto.data.manifest import Corpus
from affetto.data.splits import hold_out_corpus, reserve, split_by_speaker
from affetto.errors import ConfigError
from affetto.learn.config import CorpusConfig, DataConfig
from affetto.records import Clip


def load_clips(data: DataConfig, seed: int = 0) -> list[Clip]:
    """Every clip in "train", "validation" or "test": `split_clips` of what `load_corpora` reads."""
    return split_clips([clip for corpus in load_corpora(data) for clip in corpus.clips], data, seed)


def load_corpora(data: DataConfig) -> list[Corpus]:
    """The corpora as their readers find them; clips carry their corpus's name and the labels that are wanted.

    Raises ConfigError `config_invalid` without corpora; DataError `corpus_unknown`, `corpus_layout` and what
    reading a manifest raises.
    """
    if not data.corpora:
        raise ConfigError("config_invalid", "data.corpora is empty: name a corpus or a manifest")
    return [_read(corpus, data.root) for corpus in data.corpora]


def split_clips(clips: Sequence[Clip], data: DataConfig, seed: int = 0) -> list[Clip]:
    """Every clip in "train", "validation" or "test"; nobody in two of them.

    Reserved people, the fold and the corpus that are held out, and official test sets are "test". Official
    validation sets stay. Of other corpora a share `validation` of the speakers (of the texts or ids, where
    there are no speakers) is drawn. Clips that a fold can neither test nor train on are left out. Raises
    DataError `split_impossible`.
    """
    clips = reserve(clips, data.reserved)
    if data.hold_out is not None:
        clips = hold_out_corpus(clips, data.hold_out)
    if data.folds is not None and data.fold is not None:
        fold = folds_of(clips, data.fold_by, data.folds)[data.fold]
        rest = split_clips(fold.rest, replace(data, reserved={}, hold_out=None, folds=None, fold=None), seed)
        return [*rest, *(replace(clip, split="test") for clip in fold.test)]
    if data.validation in (0.0, 1.0):
        only = "train" if data.validation == 0.0 else "validation"
        return [clip if clip.split else replace(clip, split=only) for clip in clips]
    watched = {clip.corpus for clip in clips if clip.split == "validation"}
    clips = [c if c.split != "train" or c.corpus in watched else replace(c, split=None) for c in clips]
    return split_by_speaker(clips, {"train": 1.0 - data.validation, "validation": data.validation}, seed)


def _read(config: CorpusConfig, root: str) -> Corpus:
    corpus = read_corpus(config.reader, Path(root) / config.path, **config.options)
    return replace(corpus, clips=tuple(_as_configured(clip, config) for clip in corpus.clips))


def _as_configured(clip: Clip, config: CorpusConfig) -> Clip:
    wanted = clip.labels.keys() if config.tasks is None else config.tasks
    return replace(
        clip,
        corpus=clip.corpus or config.reader,
        split="test" if config.test_split is not None and clip.split == config.test_split else clip.split,
        labels={task: label for task, label in clip.labels.items() if task in wanted},
    )


def folds_of(clips: Sequence[Clip], by: Unit, number: int | None) -> list[Fold]:
    """The folds of clips that have no split: of those with speech, where there are any. The others, people set
    apart before among them, are in the `rest` of every fold.

    Raises DataError `split_impossible`, also for a number of folds that there are not.
    """
    free = [clip for clip in clips if clip.split is None]
    dealt = [clip for clip in free if "speech" in clip.modalities() and clip.speaker is not None] or free
    kept = {id(clip) for clip in dealt}
    others = tuple(clip for clip in clips if id(clip) not in kept)
    return [Fold(fold.test, (*fold.rest, *others)) for fold in make_folds(dealt, by, number)]
