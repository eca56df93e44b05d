"""Media that cannot be opened, or that say little, and media that are copies of one another."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from affetto.data.audit.copies import copies
from affetto.data.audit.examine import Examined
from affetto.data.audit.findings import Finding, Severity, full_id, named
from affetto.records import Clip

_CLIPPED = 0.005  # of the samples
_FAINT = -60.0  # dB below full scale
_SHORT = 0.3  # seconds
_NARROW = 0.6  # times the usual band, among
_ENOUGH = 20  # recordings

_COPY = 0.88  # takes of one sentence by one speaker were at most 0.86 alike, among 2,900 real clips
_ALTERED = 0.74  # those of two speakers at most 0.73
_SAME_PICTURE = 0.998  # cosine of thumbnails

Pair = tuple[int, int]


def find_faults(examined: Sequence[Examined]) -> list[Finding]:
    """Unreadable, faint, short and clipped media, and recordings of an odd band."""
    heard = [one for one in examined if "peak" in one.facts]
    faults = (
        ("faint", "problem", lambda facts: facts["level"] < _FAINT, f"lie below {_FAINT:g} dB of full scale"),
        ("short", "problem", lambda facts: facts["seconds"] < _SHORT, f"last less than {_SHORT:g} s"),
        ("clipped", "note", lambda facts: facts["clipped"] > _CLIPPED, "are clipped at their peaks"),
    )
    found = [_unreadable(examined)]
    found += [_fault(heard, code, severity, test, what) for code, severity, test, what in faults]  # type: ignore[arg-type]
    found += _narrow(heard)
    return [finding for finding in found if finding is not None]


def find_copies(examined: Sequence[Examined]) -> list[Finding]:
    """Media that are the same, or altered copies of one another: leaks where they stand in different splits.

    A recording is compared by its print (`affetto.data.audit.copies`), a picture by its thumbnail.
    """
    across, conflicting, others = [], [], []
    for i, j in sorted(_pairs(examined)):
        one, other = examined[i].clip, examined[j].clip
        if None not in (one.split, other.split) and one.split != other.split:
            across.append((one, other))
        elif one.labels and other.labels and one.labels != other.labels:
            conflicting.append((one, other))
        else:
            others.append((one, other))
    found = [
        _copies("copy_leak", "leak", across, "stand in different splits", "keep one of each"),
        _copies("copy_conflict", "problem", conflicting, "carry different labels", "decide for one of them"),
        _copies("copy", "note", others, "are copies of one another", "keep one of each"),
    ]
    return [finding for finding in found if finding is not None]


def _pairs(examined: Sequence[Examined]) -> set[Pair]:
    pairs = set(_identical(examined)) | set(_same_pictures(examined))
    for i, j, likeness in copies([one.print for one in examined]):
        if likeness >= (_COPY if _one_speaker(examined[i].clip, examined[j].clip) else _ALTERED):
            pairs.add((i, j))
    return pairs


def _one_speaker(one: Clip, other: Clip) -> bool:
    return one.speaker is not None and (one.corpus, one.speaker) == (other.corpus, other.speaker)


def _identical(examined: Sequence[Examined]) -> Iterator[Pair]:
    """Each medium with the next one of the same samples or pixels."""
    last: dict[str, int] = {}
    for number, one in enumerate(examined):
        if one.sha256 is not None:
            if one.sha256 in last:
                yield last[one.sha256], number
            last[one.sha256] = number


def _same_pictures(examined: Sequence[Examined]) -> Iterator[Pair]:
    places = [number for number, one in enumerate(examined) if one.thumb is not None]
    if not places:
        return
    thumbs = np.stack([examined[number].thumb for number in places])  # type: ignore[misc]
    for start in range(0, len(thumbs), 1024):
        near = thumbs[start : start + 1024] @ thumbs[start:].T >= _SAME_PICTURE
        for row, column in np.argwhere(np.triu(near, 1)):
            yield places[start + row], places[start + column]


def _unreadable(examined: Sequence[Examined]) -> Finding | None:
    failed = [(full_id(one.clip), one.error) for one in examined if one.error is not None]
    if not failed:
        return None
    codes = Counter(error.code for _, error in failed)
    told = ", ".join(f"{count} {code}" for code, count in codes.most_common())
    message = f"{_count(len(failed), 'medium', 'media')} cannot be read: {told}; the first: {failed[0][1]}"
    ids = tuple(name for name, _ in failed)
    return Finding("unreadable", "problem", message, "repair them or take them out", ids, dict(codes))


def _narrow(heard: Sequence[Examined]) -> Iterator[Finding | None]:
    """Recordings that lack the upper band of the others of their corpus."""
    corpora: dict[str | None, list[Examined]] = defaultdict(list)
    for one in heard:
        corpora[one.clip.corpus].append(one)
    for own in corpora.values():
        least = _NARROW * float(np.median([one.facts["band"] for one in own]))
        what = f"hold nothing above {least:.0f} Hz, unlike the others: recorded, or labelled, at a lower rate"
        if len(own) >= _ENOUGH:
            yield _fault(own, "narrow_band", "note", lambda facts, least=least: facts["band"] < least, what)  # type: ignore[misc]


def _fault(
    heard: Sequence[Examined],
    code: str,
    severity: Severity,
    test: Callable[[Mapping[str, float]], bool],
    what: str,
) -> Finding | None:
    ids = tuple(full_id(one.clip) for one in heard if test(one.facts))
    if not ids:
        return None
    message = f"{_count(len(ids), 'recording', 'recordings')} {what}: {named(ids)}"
    return Finding(code, severity, message, "listen to them", ids, {"recordings": len(heard)})


def _copies(
    code: str, severity: Severity, pairs: Sequence[tuple[Clip, Clip]], what: str, remedy: str
) -> Finding | None:
    if not pairs:
        return None
    told = [f"{full_id(one)} = {full_id(other)}" for one, other in pairs]
    message = f"{_count(len(pairs), 'pair', 'pairs')} of media that are one {what}: {named(told)}"
    ids: dict[str, None] = {}
    for pair in pairs:
        ids |= dict.fromkeys(map(full_id, pair))
    return Finding(code, severity, message, remedy, tuple(ids), {"pairs": len(pairs)})


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
