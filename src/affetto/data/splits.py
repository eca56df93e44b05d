"""Splits in which nobody is met twice: by speaker, and by text where there is no speaker.

All functions take and return Clips with `split` set and change nothing else; none depends on the order of the
clips. A speaker is a (corpus, speaker) pair. A clip without a speaker goes where its text goes (or its group,
or its id), by a stable hash: the same text always lands in the same split.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from affetto.errors import DataError
from affetto.records import Clip

#: ("speaker", corpus, name), ("text", "", words), ("group", corpus, name) or ("id", corpus, id).
Key = tuple[str, str, str]

#: Shorter sentences are said by everybody: that two people say one tells nothing.
LEAST_WORDS = 4
#: What keeps a text that stands in several official splits; the others leave it out.
_RANK = {"train": 0, "validation": 1, "test": 2}


def split_by_speaker(clips: Iterable[Clip], fractions: Mapping[str, float], seed: int = 0) -> list[Clip]:
    """Every clip in one of the splits `fractions` (name to share), no speaker and no text in two of them.

    The shares are of each corpus's speakers, women and men in the corpus's proportion, at least one speaker
    to a split where there are enough; of the texts (or ids) of clips without a speaker. A clip that has a
    split keeps it, and its speaker's other clips join it: to divide an official training set, remove its
    split first (`replace(clip, split=None)`). A text that stands in several official splits stays in the
    test set, else in validation, and is left out of the others, so the answer may be shorter than `clips`.

    Raises DataError `split_impossible` when the shares are not positive, or too few speakers leave a split
    empty.
    """
    if not fractions or min(fractions.values()) <= 0:
        raise DataError("split_impossible", f"the shares {dict(fractions)} must all be above 0")
    clips = list(clips)
    official = _official(clips)
    genders = _genders(clips)
    fresh = [speaker for speaker in genders if speaker not in official]
    assigned = {**_deal_shares(fresh, genders, fractions, seed), **official}
    divided = []
    for clip in clips:
        key = _key(clip)
        if key[0] == "text" and clip.split is not None and assigned[key] != clip.split:
            continue
        split = clip.split or assigned.get(key) or _hashed(key, fractions, seed)
        divided.append(replace(clip, split=split))
    _refuse_empty(divided, fractions)
    return divided


def folds_by_speaker(clips: Iterable[Clip], folds: int, seed: int | None = None) -> list[list[Clip]]:
    """`folds` lists of clips: each speaker's clips are in one list, to be tested on while the rest trains.

    The women of each corpus are dealt in order of their names, then its men, so that folds are alike in
    number and gender; `seed` shuffles the names first. The folds of a corpus do not depend on the others.
    Clips without a speaker are dealt by the hash of their text (or id).

    Raises DataError `split_impossible` where a corpus has fewer speakers than there are folds.
    """
    if folds < 2:
        raise DataError("split_impossible", f"{folds} folds: expected at least 2")
    clips = list(clips)
    genders = _genders(clips)
    fold_of: dict[Key, int] = {}
    for corpus, speakers in _by_corpus(genders).items():
        if len(speakers) < folds:
            message = f"{corpus or 'the manifest'} has {len(speakers)} speakers: too few for {folds} folds"
            raise DataError("split_impossible", message)
        dealt = _women_then_men(speakers, genders, seed)
        fold_of.update({speaker: index % folds for index, speaker in enumerate(dealt)})
    shares = {str(fold): 1 / folds for fold in range(folds)}
    members: list[list[Clip]] = [[] for _ in range(folds)]
    for clip in clips:
        key = _key(clip)
        members[fold_of[key] if key in fold_of else int(_hashed(key, shares, seed or 0))].append(clip)
    return members


def hold_out_corpus(clips: Iterable[Clip], corpus: str) -> list[Clip]:
    """The clips, those of `corpus` as the test set. Raises DataError `split_impossible` if there are none."""
    clips = list(clips)
    known = sorted({clip.corpus or "" for clip in clips})
    if corpus not in known:
        message = f"no clip is of the corpus {corpus!r}: there are {', '.join(known) or 'none'}"
        raise DataError("split_impossible", message)
    return [replace(clip, split="test") if clip.corpus == corpus else clip for clip in clips]


def reserve(clips: Iterable[Clip], reserved: Mapping[str, Sequence[str]]) -> list[Clip]:
    """The clips, those of the reserved people (corpus to speakers) as the test set, whatever their split was.

    A corpus that is not among the clips needs no reserving. Raises DataError `split_impossible` for a speaker
    whom a corpus that is there does not have: a name misspelt would put that person into training.
    """
    clips = list(clips)
    people = {("speaker", corpus, name) for corpus, names in reserved.items() for name in names}
    present = _by_corpus(_genders(clips))
    for person in sorted(people):
        _, corpus, name = person
        if corpus in present and person not in present[corpus]:
            known = ", ".join(key[2] for key in present[corpus])
            message = f"{corpus} has no speaker {name!r} to reserve: it has {known}"
            raise DataError("split_impossible", message)
    return [replace(clip, split="test") if _key(clip) in people else clip for clip in clips]


def sentence(text: str) -> str:
    """A text without what does not change its words: case, punctuation, spaces."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def sentence_key(text: str) -> str:
    """What two texts share that must not stand in two splits: the words where there are enough to tell, else all
    but case and spaces."""
    words = sentence(text)
    return words if len(words.split()) >= LEAST_WORDS else " ".join(text.casefold().split())


# --- who -------------------------------------------------------------------------------------------------


def _key(clip: Clip) -> Key:
    """What must not stand in two splits. Corpora share texts, so a text belongs to none."""
    corpus = clip.corpus or ""
    if clip.speaker is not None:
        return ("speaker", corpus, clip.speaker)
    if clip.text is not None and not clip.scripted:
        return ("text", "", sentence_key(clip.text))
    return ("group", corpus, clip.group) if clip.group is not None else ("id", corpus, clip.id)


def _genders(clips: Iterable[Clip]) -> dict[Key, str]:
    """Every speaker, sorted, and the gender if known."""
    genders: dict[Key, str] = {}
    for clip in clips:
        if clip.speaker is not None:
            key = _key(clip)
            genders[key] = max(genders.get(key, ""), clip.gender or "")
    return dict(sorted(genders.items()))


def _by_corpus(speakers: Iterable[Key]) -> dict[str, list[Key]]:
    groups: dict[str, list[Key]] = {}
    for speaker in speakers:
        groups.setdefault(speaker[1], []).append(speaker)
    return groups


def _official(clips: Iterable[Clip]) -> dict[Key, str]:
    """The split of every speaker, text, ... that has one: the highest in rank where there are several."""
    official: dict[Key, str] = {}
    for clip in clips:
        if clip.split is not None:
            key = _key(clip)
            official[key] = max(official.get(key, clip.split), clip.split, key=_rank)
    return official


def _rank(split: str) -> tuple[int, str]:
    return (_RANK.get(split, 0), split)


# --- dealing ---------------------------------------------------------------------------------------------


def _women_then_men(speakers: Sequence[Key], genders: Mapping[Key, str], seed: int | None) -> list[Key]:
    names = sorted(speakers)
    if seed is not None:
        random.Random(seed).shuffle(names)
    return sorted(names, key=lambda speaker: genders[speaker])  # stable: the order within a gender stays


def _mixed(speakers: Sequence[Key], genders: Mapping[Key, str], seed: int) -> list[Key]:
    """Speakers in a random order in which every stretch has about the whole's proportion of genders."""
    chance = random.Random(seed)
    place: dict[Key, float] = {}
    for gender in sorted({genders[speaker] for speaker in speakers}):
        members = sorted(speaker for speaker in speakers if genders[speaker] == gender)
        chance.shuffle(members)
        place.update({name: (index + chance.random()) / len(members) for index, name in enumerate(members)})
    return sorted(place, key=lambda speaker: place[speaker])


def _deal_shares(
    speakers: Iterable[Key], genders: Mapping[Key, str], fractions: Mapping[str, float], seed: int
) -> dict[Key, str]:
    assigned: dict[Key, str] = {}
    for members in _by_corpus(speakers).values():
        order = iter(_mixed(members, genders, seed))
        for split, size in _sizes(len(members), fractions).items():
            assigned.update({next(order): split for _ in range(size)})
    return assigned


def _sizes(count: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """`count` divided by shares: largest remainders, at least 1 each where `count` allows; smallest first."""
    splits = sorted(fractions, key=lambda name: fractions[name])
    total = sum(fractions.values())
    least = 1 if count >= len(splits) else 0
    exact = {name: count * fractions[name] / total for name in splits}
    sizes = {name: max(least, int(exact[name])) for name in splits}
    while sum(sizes.values()) < count:
        sizes[max(splits, key=lambda name: exact[name] - sizes[name])] += 1
    while sum(sizes.values()) > count:
        sizes[min(splits, key=lambda name: (sizes[name] <= least, exact[name] - sizes[name]))] -= 1
    return sizes


def _hashed(key: Key, fractions: Mapping[str, float], seed: int) -> str:
    """The split of a key: a stable hash to [0, 1), cut at the shares."""
    digest = hashlib.sha256("\0".join((str(seed), *key)).encode()).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64 * sum(fractions.values())
    names = sorted(fractions)
    for name in names:
        point -= fractions[name]
        if point < 0:
            return name
    return names[-1]


def _refuse_empty(clips: Sequence[Clip], fractions: Mapping[str, float]) -> None:
    empty = sorted(set(fractions) - {clip.split for clip in clips})
    if empty and clips:
        counts = f"{len(clips)} clips of {len(_genders(clips))} speakers"
        message = f"nothing is left for {', '.join(empty)}: {counts} are too few; use fewer splits"
        raise DataError("split_impossible", message)
