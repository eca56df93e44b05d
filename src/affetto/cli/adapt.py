"""What `affetto train my.csv` does with few clips: the default bundle's heads are adapted to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from affetto.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

    from affetto.records import Clip

#: Clips up to which a manifest adapts the default bundle unless told otherwise.
FEW_CLIPS = 300
_EMOTION = "emotion"


def few(manifest: str) -> bool:
    """Whether a manifest holds few clips, and none but what the default bundle reads and can say."""
    from affetto.data.manifest import read_manifest

    clips = read_manifest(manifest)
    tasks = {task for clip in clips for task in clip.labels}
    featured = any(clip.features for clip in clips)
    return len(clips) <= FEW_CLIPS and tasks == {_EMOTION} and not featured and not _unknown(clips)


def adapt(console: Console, manifest: str, out: Path, allow_leaks: str | None) -> None:
    """Adapt, say before and after, and write the bundle at `out`.

    Raises DataError `label_unknown` for an emotion that the bundle does not have, and what
    `learn.export.adapt.adapt_bundle` raises.
    """
    from affetto.bundle import open_bundle
    from affetto.data.audit import check_leaks
    from affetto.data.manifest import read_manifest
    from affetto.data.splits import split_by_speaker
    from affetto.learn.export.adapt import adapt_bundle

    clips = read_manifest(manifest)
    if unknown := _unknown(clips):
        raise DataError(
            "label_unknown",
            f"{manifest}: the default bundle has no {unknown[0]!r}: train anew with --adapt none",
        )
    if not any(clip.split for clip in clips) and len({clip.speaker for clip in clips if clip.speaker}) > 2:
        clips = split_by_speaker(clips, {"train": 0.75, "validation": 0.25}, 0)
    for leak in check_leaks(clips, allowed=tuple(allow_leaks.split(",")) if allow_leaks else ()):
        console.print(f"allowed: {leak.message}", markup=False, soft_wrap=True)
    result = adapt_bundle(open_bundle(), clips, out, name=Path(manifest).stem)
    how = "held-out clips" if result.held_out else "clips, each left out in turn (no speaker to hold out)"
    console.print(f"UAR {result.before:.3f} before, {result.after:.3f} after, on {result.clips} {how}")
    console.print(f"written: {result.bundle.path}", markup=False, soft_wrap=True)
    console.print(f"next: affetto predict FILE --bundle {result.bundle.path}", markup=False, soft_wrap=True)


def _unknown(clips: Sequence[Clip]) -> list[str]:
    """Emotions of the clips that the default bundle has no name for."""
    from affetto.labels import EMOTIONS

    labels = (clip.labels[_EMOTION] for clip in clips if _EMOTION in clip.labels)
    said = {name for label in labels for name in ([label] if isinstance(label, str) else label)}  # type: ignore[union-attr]
    return sorted(said - set(EMOTIONS))
