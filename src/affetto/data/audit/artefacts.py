"""What has nothing to do with feeling and tells the label all the same: a model would learn it instead.

Three places are looked at. *Lengths*: many clips of exactly one length, of some classes only, were cut there.
*Edges*: silence before and after, an end in the middle of a sound, the floor of noise, the band: how well each
alone tells a class from the others is the area under its ROC curve. *Labels*: classes that only one corpus,
speaker, gender or language has.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from affetto.data.audit.examine import Examined
from affetto.data.audit.findings import Finding, full_id, named
from affetto.records import Clip

#: Facts of a recording that belong to how it was made, and what they are called.
EDGES = {
    "lead": "the silence before the sound",
    "tail": "the silence after the sound",
    "end": "how loud the recording breaks off",
    "floor": "the floor of noise",
    "band": "the band of the recording",
}

_TASK = "emotion"
_SPIKE = 8  # clips of one length, at least, and so many times the next most common length
_AREA = 0.85
_LEAST = 15  # clips of a class
_ALONE = 0.9  # share of a class that one group has
_UNEVEN = 3.0  # times its share


def find_artefacts(examined: Sequence[Examined]) -> list[Finding]:
    """Lengths and edges that tell the label, corpus by corpus."""
    found = []
    corpora: dict[str, list[tuple[Examined, str]]] = defaultdict(list)
    for one in examined:
        label = _label(one.clip)
        if label is not None and "seconds" in one.facts:
            corpora[one.clip.corpus or ""].append((one, label))
    for corpus, labelled in corpora.items():
        where = f" in {corpus}" if corpus else ""
        found += [*_cut(labelled, where), *_edges(labelled, where)]
    return found


def find_skew(clips: Sequence[Clip]) -> list[Finding]:
    """Classes that belong to one corpus, speaker, gender or language alone, and transcripts that are missing."""
    found = []
    for what in ("corpus", "language", "gender", "speaker"):
        found += list(_alone(clips, what))
    found += list(_without_text(clips))
    return found


def auc(values: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """The area under the ROC curve: how likely a value of a positive is above that of another (ties: half)."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    n, m = int(positive.sum()), int((~positive).sum())
    return float((rank[positive].sum() - n * (n + 1) / 2) / (n * m))


def _cut(labelled: Sequence[tuple[Examined, str]], where: str) -> Iterator[Finding]:
    lengths = Counter(round(one.facts["seconds"], 4) for one, _ in labelled)
    (length, count), *others = lengths.most_common(2)
    if count < _SPIKE or count < _SPIKE * (others[0][1] if others else 0) or len(lengths) == 1:
        return
    inside = [(one, label) for one, label in labelled if round(one.facts["seconds"], 4) == length]
    classes, all_classes = Counter(label for _, label in inside), Counter(label for _, label in labelled)
    told = ", ".join(f"{n} of {all_classes[label]} {label}" for label, n in classes.most_common())
    never = [label for label in all_classes if label not in classes]
    ids = tuple(full_id(one.clip) for one, _ in inside)
    message = f"{count} recordings{where} last exactly {length:g} s, cut there: {told}" + (
        f"; none of {', '.join(never)}" if never else ""
    )
    severity = "problem" if _skewed(classes, all_classes) else "note"
    remedy = f"cut every clip to {length:g} s in training and in use, or leave these out"
    yield Finding("cut", severity, message, remedy, ids, {"seconds": length, "classes": dict(classes)})  # type: ignore[arg-type]


def _skewed(part: Mapping[str, int], whole: Mapping[str, int]) -> bool:
    """Whether a part's classes are not those of the whole (chi square over its degrees of freedom)."""
    share = sum(part.values()) / sum(whole.values())
    expected = {label: share * count for label, count in whole.items()}
    chi = sum((part.get(label, 0) - expected[label]) ** 2 / expected[label] for label in whole)
    return chi > 5 * max(len(whole) - 1, 1)


def _edges(labelled: Sequence[tuple[Examined, str]], where: str) -> Iterator[Finding]:
    labels = np.array([label for _, label in labelled])
    for fact, called in EDGES.items():
        values = np.array([one.facts[fact] for one, _ in labelled])
        told = {}
        for label in np.unique(labels):
            chosen = labels == label
            if _LEAST <= chosen.sum() <= len(labels) - _LEAST:
                area = auc(values, chosen)
                if max(area, 1 - area) >= _AREA:
                    told[str(label)] = round(area, 3)
        if told:
            shown = ", ".join(f"{label} ({max(a, 1 - a):.2f})" for label, a in told.items())
            message = f"{called}{where} tells the class by itself (area under the ROC curve): {shown}"
            yield Finding(
                "edge", "problem", message, "trim every recording alike", (), {"fact": fact, **told}
            )


def _alone(clips: Sequence[Clip], what: str) -> Iterator[Finding]:
    """Classes of which nearly all clips belong to one value of `what`, which has far fewer of the rest."""
    known = [
        (getattr(clip, what), label) for clip in clips if getattr(clip, what) and (label := _label(clip))
    ]
    values = Counter(value for value, _ in known)
    classes = Counter(label for _, label in known)
    if len(values) < 2:
        return
    told = []
    for label, count in sorted(classes.items()):
        value, most = Counter(value for value, own in known if own == label).most_common(1)[0]
        usual = values[value] / len(known)
        if count >= _LEAST and most >= _ALONE * count and most >= min(_UNEVEN * usual, 1.0) * _ALONE * count:
            told.append(f"{label} ({most} of {count} in {value})")
    if told and len(told) < len(classes):
        message = f"classes that one {what} has almost alone: {named(told)}"
        remedy = f"a model may tell the {what} instead: look at its recall {what} by {what}"
        yield Finding(f"class_of_one_{what}", "problem", message, remedy, (), {"classes": len(told)})


def _without_text(clips: Sequence[Clip]) -> Iterator[Finding]:
    corpora: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        corpora[clip.corpus or ""].append(clip)
    for corpus, own in corpora.items():
        bare = tuple(full_id(clip) for clip in own if not (clip.text or "").strip())
        if 0 < len(bare) < len(own):
            message = f"{len(bare)} of {len(own)} clips{f' of {corpus}' if corpus else ''} have no transcript"
            yield Finding(
                "no_transcript", "note", message, "transcribe them, or leave them without text", bare
            )


def _label(clip: Clip) -> str | None:
    """The one emotion of a clip, where it has one."""
    label = clip.labels.get(_TASK)
    if isinstance(label, Mapping) and label:
        return max(label, key=lambda name: label[name])
    return label if isinstance(label, str) else None
