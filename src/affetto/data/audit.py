"""The audit before training: nobody may be met again in the test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from affetto.errors import DataError
from affetto.records import Clip

_SHOWN = 5


def check_leaks(clips: Iterable[Clip]) -> None:
    """Refuse clips of which a speaker, or a group (a dialogue, a session), stands in more than one split.

    Clips without a split are not looked at. Raises DataError `split_leak`.
    """
    clips = list(clips)
    check_speaker_leaks(clips)
    _refuse_shared(clips, "group")


def check_speaker_leaks(clips: Iterable[Clip]) -> None:
    """Refuse clips of which a speaker stands in more than one split; a speaker belongs to a corpus.

    Clips without a split are not looked at. Raises DataError `split_leak`, naming the speakers, their corpus
    and the splits.
    """
    _refuse_shared(clips, "speaker")


def duplicate_clips(clips: Iterable[Clip]) -> list[tuple[str, str]]:
    """The (corpus, id) pairs that more than one clip has, sorted."""
    counts = Counter((clip.corpus or "", clip.id) for clip in clips)
    return sorted(key for key, count in counts.items() if count > 1)


def _refuse_shared(clips: Iterable[Clip], what: str) -> None:
    splits: dict[tuple[str, str], set[str]] = {}
    for clip in clips:
        name = getattr(clip, what)
        if name is not None and clip.split is not None:
            splits.setdefault((clip.corpus or "", name), set()).add(clip.split)
    shared = sorted(key for key, found in splits.items() if len(found) > 1)
    if not shared:
        return
    shown = ", ".join(
        f"{name}{f' of {corpus}' if corpus else ''} (in {' and '.join(sorted(splits[corpus, name]))})"
        for corpus, name in shared[:_SHOWN]
    )
    more = f" and {len(shared) - _SHOWN} more" if len(shared) > _SHOWN else ""
    plural = "s stand" if len(shared) > 1 else " stands"
    message = f"{len(shared)} {what}{plural} in more than one split: {shown}{more}; give each one split only"
    raise DataError("split_leak", message)
