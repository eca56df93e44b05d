"""Cross-validation: folds in each of which somebody, or something, is met for the first time.

What is held out belongs together: all clips of a speaker, of a recording session, of a sentence. With
"speaker+sentence" both are new: a test clip's speaker and its sentence are absent from the training clips, and clips
that share only one of them are left out. Without a number of folds, one is left out at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from affetto.data.splits import folds_by_speaker, sentence_key
from affetto.errors import DataError
from affetto.records import Clip

#: What a fold holds out.
Unit = Literal["speaker", "session", "sentence", "speaker+sentence"]
UNITS: tuple[str, ...] = get_args(Unit)
_Key = tuple[str, ...]


@dataclass(frozen=True)
class Fold:
    """The clips that are tested, and those that may be trained on."""

    test: tuple[Clip, ...]
    rest: tuple[Clip, ...]


def make_folds(clips: Sequence[Clip], by: Unit, number: int | None = None) -> list[Fold]:
    """The folds of clips, each clip tested in one; of "speaker+sentence" `number` times `number`.

    Speakers are those of a corpus, dealt as `folds_by_speaker` does; sessions (attribute `session`) are those of a
    corpus; a sentence is the attribute `sentence` of a corpus, else the text of all. They are dealt in order of
    their names. Clips without one are always trained on. Raises DataError `split_impossible` where there are
    fewer units than folds, or fewer than two.
    """
    if by == "speaker+sentence":
        people, sentences = make_folds(clips, "speaker", number), make_folds(clips, "sentence", number)
        crossed = [_crossed(one, other) for one in people for other in sentences]
        return [fold for fold in crossed if fold.test]
    units = {id(clip): unit for clip in clips if (unit := _unit(clip, by)) is not None}
    names = sorted(set(units.values()))
    count = len(names) if number is None else number
    if count < 2 or len(names) < count:
        raise DataError(
            "split_impossible", f"{len(names)} {by}s among the clips: too few for {max(count, 2)} folds"
        )
    if by == "speaker" and number is not None:
        dealt = folds_by_speaker([clip for clip in clips if id(clip) in units], count)
        place = {id(clip): fold for fold, members in enumerate(dealt) for clip in members}
    else:
        of_name = {name: i % count for i, name in enumerate(names)}
        place = {clip: of_name[name] for clip, name in units.items()}
    return [
        Fold(
            tuple(clip for clip in clips if place.get(id(clip)) == fold),
            tuple(clip for clip in clips if place.get(id(clip)) != fold),
        )
        for fold in range(count)
    ]


def _crossed(one: Fold, other: Fold) -> Fold:
    """What both folds test, and what both train on."""
    tested, kept = {id(clip) for clip in other.test}, {id(clip) for clip in other.rest}
    return Fold(
        tuple(clip for clip in one.test if id(clip) in tested),
        tuple(clip for clip in one.rest if id(clip) in kept),
    )


def _unit(clip: Clip, by: Unit) -> _Key | None:
    corpus = clip.corpus or ""
    if by == "speaker":
        return None if clip.speaker is None else (corpus, clip.speaker)
    if by == "session":
        session = clip.attributes.get("session")
        return None if session is None else (corpus, session)
    sentence = clip.attributes.get("sentence")
    if sentence is not None:
        return (corpus, "named", sentence)
    return ("", "said", sentence_key(clip.text)) if clip.text else None
