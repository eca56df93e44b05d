"""What `affetto train my.csv --adapt` does: the default bundle is adapted to the clips of a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from affetto.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

    from affetto.bundle import Bundle
    from affetto.learn.config import ExperimentConfig
    from affetto.learn.experiments.adapted import How
    from affetto.records import Clip

#: Clips up to which a manifest adapts the default bundle unless told otherwise.
FEW_CLIPS = 300
_EMOTION = "emotion"


def few(manifest: str) -> bool:
    """Whether a manifest holds few clips, and none but what the default bundle reads and can say."""
    from affetto.data.manifest import read_manifest

    clips = read_manifest(manifest)
    featured = any(clip.features for clip in clips)
    return len(clips) <= FEW_CLIPS and _emotions(clips) and not featured and not _unknown(clips)


def of_emotions(manifest: str) -> bool:
    """Whether emotions are all that the clips of a manifest are labelled with."""
    from affetto.data.manifest import read_manifest

    return _emotions(read_manifest(manifest))


def adapt(console: Console, manifest: str, out: Path, allow_leaks: str | None) -> None:
    """Adapt the heads, say before and after, and write the bundle at `out`; beside it, what could not be read.

    Raises DataError `label_unknown` for an emotion that the bundle does not have, and what
    `learn.export.adapt.adapt_bundle` raises.
    """
    from affetto.bundle import open_bundle
    from affetto.data.audit import check_leaks
    from affetto.data.manifest import read_manifest
    from affetto.data.splits import split_by_speaker
    from affetto.learn.export.adapt import adapt_bundle
    from affetto.learn.training.run_folder import RunFolder

    clips = read_manifest(manifest)
    if unknown := _unknown(clips):
        raise DataError(
            "label_unknown",
            f"{manifest}: the default bundle has no {unknown[0]!r}: train anew with --adapt none",
        )
    if not any(clip.split for clip in clips) and len({clip.speaker for clip in clips if clip.speaker}) > 2:
        clips = split_by_speaker(clips, {"train": 0.75, "validation": 0.25}, 0)
    leaks = check_leaks(clips, allowed=tuple(allow_leaks.split(",")) if allow_leaks else ())
    for leak in leaks:
        console.print(f"allowed: {leak.message}", markup=False, soft_wrap=True)
    result = adapt_bundle(
        open_bundle(), clips, out, name=Path(manifest).stem, leaks=[leak.message for leak in leaks]
    )
    if result.unreadable:
        RunFolder(out.parent).write_unreadable(result.unreadable)
        table = out.parent / "unreadable.csv"
        console.print(f"{len(result.unreadable)} clips left out: see {table}", markup=False, soft_wrap=True)
    how = "held-out clips" if result.held_out else "clips, each left out in turn (no speaker to hold out)"
    console.print(f"UAR {result.before:.3f} before, {result.after:.3f} after, on {result.clips} {how}")
    console.print(f"written: {result.bundle.path}", markup=False, soft_wrap=True)
    console.print(f"next: affetto predict FILE --bundle {result.bundle.path}", markup=False, soft_wrap=True)


def adapted_config(manifest: str, how: How) -> ExperimentConfig:
    """The experiment that trains on from the default bundle's weights with a manifest's clips.

    Raises what `read_manifest` and `learn.experiments.adapted.adapted` raise.
    """
    from affetto.bundle import open_bundle
    from affetto.data.manifest import read_manifest
    from affetto.learn.experiments.adapted import adapted
    from affetto.learn.export.writer import load_config

    bundle, clips = open_bundle(), read_manifest(manifest)
    name, start = Path(manifest).stem, str(bundle.path)
    return adapted(manifest, name, clips, load_config(bundle), start, bundle.info.licence, how)


def before_and_after(console: Console, start: str, bundle: Bundle, clips: Sequence[Clip]) -> None:
    """Say how well a bundle and the one that it began as tell the emotions of the clips that were held out.

    Those of the test split; where there are none, of the validation split, which ended the training and so
    flatters it a little. Nothing is said without any.
    """
    from affetto.bundle import open_bundle
    from affetto.learn.export.adapt import read_items, score

    task = bundle.info.task(_EMOTION)
    splits = ([clip for clip in clips if clip.split == name] for name in ("test", "validation"))
    held_out = next((found for found in splits if any(_EMOTION in clip.labels for clip in found)), None)
    if task is None or held_out is None:
        return
    items = read_items(bundle, held_out, task)
    before, after = (score(each, items, task) for each in (open_bundle(start), bundle))
    people = len({clip.speaker for clip in items.clips if clip.speaker})
    told = f"{len(items.clips)} {held_out[0].split} clips of {people or 'unknown'} speakers"
    console.print(f"UAR {before:.3f} before, {after:.3f} after, on {told}")


def _emotions(clips: Sequence[Clip]) -> bool:
    return {task for clip in clips for task in clip.labels} == {_EMOTION}


def _unknown(clips: Sequence[Clip]) -> list[str]:
    """Emotions of the clips that the default bundle has no name for."""
    from affetto.labels import EMOTIONS

    labels = (clip.labels[_EMOTION] for clip in clips if _EMOTION in clip.labels)
    said = {name for label in labels for name in ([label] if isinstance(label, str) else label)}  # type: ignore[union-attr]
    return sorted(said - set(EMOTIONS))
