"""Leaks that the manifest alone gives away: who, or what, stands in more than one split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from affetto.data.audit.findings import Finding, full_id, named
from affetto.data.splits import LEAST_WORDS, sentence
from affetto.errors import DataError
from affetto.records import Clip

#: Attributes that, like `Clip.group`, say which clips were made together.
GROUPS = ("dialogue", "dialog", "conversation", "session", "video", "episode")

_LEAST_SHARE = 0.02  # of the held-out sentences: chance repeats some


def find_leaks(clips: Iterable[Clip]) -> list[Finding]:
    """Speakers, groups, recordings and sentences that stand in more than one split.

    Clips without a split are not looked at. Speakers and groups belong to a corpus.
    """
    divided = [clip for clip in clips if clip.split is not None]
    if len({clip.split for clip in divided}) < 2:
        return []
    found = [_shared(divided, "speaker", lambda clip: clip.speaker)]
    found.append(_shared(divided, "group", lambda clip: clip.group))
    for name in GROUPS:
        found.append(_shared(divided, name, lambda clip, name=name: clip.attributes.get(name)))  # type: ignore[misc]
    found.append(_shared(divided, "recording", _recording))
    found.append(_sentences(divided))
    return [finding for finding in found if finding is not None]


def check_leaks(clips: Iterable[Clip], *, allowed: Collection[str] = ()) -> list[Finding]:
    """Refuse clips with a leak; those whose code is `allowed` are returned instead.

    Raises DataError `split_leak`, naming what is shared and the splits.
    """
    found = [finding for finding in find_leaks(clips) if finding.severity == "leak"]
    refused = [finding for finding in found if finding.code not in allowed]
    if refused:
        raise DataError("split_leak", "; ".join(f"{leak.message}; {leak.remedy}" for leak in refused))
    return found


def duplicate_clips(clips: Iterable[Clip]) -> list[tuple[str, str]]:
    """The (corpus, id) pairs that more than one clip has, sorted."""
    counts = Counter((clip.corpus or "", clip.id) for clip in clips)
    return sorted(key for key, count in counts.items() if count > 1)


def _shared(clips: Sequence[Clip], what: str, name_of: Callable[[Clip], str | None]) -> Finding | None:
    splits: dict[tuple[str, str], set[str]] = defaultdict(set)
    for clip in clips:
        name = name_of(clip)
        if name and clip.split is not None:
            splits[clip.corpus or "", name].add(clip.split)
    shared = {key: sorted(found) for key, found in splits.items() if len(found) > 1}
    if not shared:
        return None
    told = [
        f"{name}{f' of {corpus}' if corpus else ''} (in {' and '.join(shared[corpus, name])})"
        for corpus, name in sorted(shared)
    ]
    met = [full_id(clip) for clip in clips if (clip.corpus or "", name_of(clip)) in shared]
    plural = "s stand" if len(shared) > 1 else " stands"
    message = f"{len(shared)} {what}{plural} in more than one split: {named(told)}"
    return Finding(
        f"{what}_leak", "leak", message, "give each one split only", tuple(met), {"shared": len(shared)}
    )


def _recording(clip: Clip) -> str | None:
    """The file that a clip is heard or seen in; precomputed features are no recording."""
    return clip.speech or clip.vision


def _sentences(clips: Sequence[Clip]) -> Finding | None:
    """Held-out texts that are in the training split word for word, where the text is evidence."""
    written = [(clip, words) for clip, words in _worded(clips)]
    trained = {words for clip, words in written if clip.split == "train"}
    held_out = [(clip, words) for clip, words in written if clip.split != "train"]
    met = [full_id(clip) for clip, words in held_out if words in trained]
    if not met:
        return None
    share = len(met) / len(held_out)
    message = f"{len(met)} of {len(held_out)} held-out texts stand in the training split word for word"
    severity, remedy = (
        ("leak", "give each sentence one split only") if share >= _LEAST_SHARE else ("note", "")
    )
    return Finding("sentence_leak", severity, message, remedy, tuple(met), {"share": share})  # type: ignore[arg-type]


def _worded(clips: Sequence[Clip]) -> Iterator[tuple[Clip, str]]:
    for clip in clips:
        words = sentence(clip.text) if clip.text and not clip.scripted else ""
        if words.count(" ") >= LEAST_WORDS - 1:
            yield clip, words
