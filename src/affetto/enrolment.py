"""Enrolment: how a person sounds, learnt from clips that nobody labelled.

A voice can lean towards an emotion whatever its owner feels: one who speaks low and slowly is heard as sad. Over
clips of many moods that lean is what the model's answers have in common, and it can be taken off again. Over
clips of one mood it is the mood, and must stay. How varied the answers are tells the two apart: the correction is
as large as the clips are varied, and none at all where they all sound alike.

With p_i the model's probabilities of clip i (of n) over C emotions and z_i their logarithms, centred over the
emotions: lean = mean of z_i; variety = (H(mean p_i) - mean H(p_i)) / log C, the information that a clip has about
its emotion (0 where all sound alike, 1 where all emotions are there and surely told); shift = -lean * STRENGTH *
n / (n + PRIOR_CLIPS) * ramp(variety). The numbers below were chosen on people held out for validation.

In a language or a room that the model never heard, all its answers lean one way, and clips of many moods look to it
like clips of one. Whoever knows better can say so (`all_moods`): then the ramp is 1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affetto.errors import DataError
from affetto.files import write_whole
from affetto.records import Prediction

FORMAT_VERSION = 1
STRENGTH = 0.6  # of the lean that is taken off, of a voice heard often and in all moods
PRIOR_CLIPS = 10  # as many clips count for "this voice does not lean"
VARIETY = (0.2, 0.35)  # below: clips of one mood, nothing is corrected; above: clips of many moods

_FILE_LIMIT = 1 << 20  # bytes


@dataclass(frozen=True)
class Speaker:
    """What is known of a person's voice; no sound of theirs is in it.

    shift: emotion to what is added to the logarithm of its probability, heard in this voice. clips: how many
    were heard. variety: 0 to 1, how unlike their answers were. model, sha256: the bundle that heard them; no
    other can use this.
    """

    shift: Mapping[str, float]
    clips: int
    variety: float
    model: str
    sha256: str

    def __post_init__(self) -> None:
        if not self.shift or not all(math.isfinite(value) for value in self.shift.values()):
            raise DataError("speaker_invalid", "a speaker needs a finite shift of every emotion: enrol again")

    def check_model(self, model: Mapping[str, str]) -> None:
        """Raises DataError `speaker_other_model` unless `model` (name, sha256) is the one that heard them."""
        if self.sha256 != model["sha256"]:
            raise DataError(
                "speaker_other_model",
                f"the speaker was enrolled with model {self.model} ({self.sha256[:12]}), this is "
                f"{model['name']} ({model['sha256'][:12]}): enrol the clips again with this one",
            )


def learn_speaker(answers: Iterable[Prediction], *, all_moods: bool = False) -> Speaker:
    """The Speaker behind a model's answers to unlabelled clips of one person's speech, speech alone.

    Answers to clips without speech do not count. Best are 20 clips or more in all moods: what sounds alike all
    over teaches nothing, unless `all_moods` says that the clips show all moods about equally often. Raises
    DataError `nothing_to_predict` without any.
    """
    heard = [answer for answer in answers if "speech" in answer.modalities and answer.reason != "no_speech"]
    if not heard:
        raise DataError("nothing_to_predict", "no speech to enrol: give some recordings of the person")
    labels, model = tuple(heard[0].probabilities), heard[0].model
    probabilities = np.array([[answer.probabilities[name] for name in labels] for answer in heard])
    seen = variety(probabilities)
    low, high = VARIETY
    ramp = 1.0 if all_moods else np.clip((seen - low) / (high - low), 0.0, 1.0)
    trust = STRENGTH * len(heard) / (len(heard) + PRIOR_CLIPS) * ramp
    shift = (-trust * _lean(probabilities)).round(6) + 0.0  # no minus zero
    return Speaker(
        dict(zip(labels, shift.tolist(), strict=True)),
        len(heard),
        round(seen, 6),
        model["name"],
        model["sha256"],
    )


def variety(probabilities: NDArray[np.float64]) -> float:
    """How unlike answers [N C] are: the mutual information of clip and emotion, 0 to 1 (all C, each sure)."""
    alike = _entropy(probabilities.mean(axis=0)[None])[0]
    return float(max(alike - _entropy(probabilities).mean(), 0.0) / math.log(probabilities.shape[1]))


def write_speaker(path: str | Path, speaker: Speaker) -> None:
    """Write some hundred bytes of JSON. Raises DataError `output_unwritable`."""
    content = json.dumps({"format": FORMAT_VERSION, **asdict(speaker)}, indent=1, ensure_ascii=False)
    write_whole(path, content.encode())


def read_speaker(path: str | Path) -> Speaker:
    """Read what `write_speaker` wrote. Raises DataError `speaker_invalid`."""
    try:
        with Path(path).open("rb") as file:
            return _speaker(json.loads(file.read(_FILE_LIMIT)))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            "speaker_invalid",
            f"{path} is not a speaker ({reason}): make one with `affetto enrol CLIPS -o FILE`",
        ) from error


def _speaker(record: Mapping[str, Any]) -> Speaker:
    if record["format"] != FORMAT_VERSION:
        raise ValueError(f"format {record['format']!r}, expected {FORMAT_VERSION}")
    shift = {str(name): float(value) for name, value in record["shift"].items()}
    return Speaker(
        shift, int(record["clips"]), float(record["variety"]), str(record["model"]), str(record["sha256"])
    )


def _lean(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """[C]: what the log-probabilities of all clips have in common; it sums to 0."""
    logs = np.log(np.maximum(probabilities, 1e-12))
    return (logs - logs.mean(axis=1, keepdims=True)).mean(axis=0)


def _entropy(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return -(probabilities * np.log(np.maximum(probabilities, 1e-12))).sum(axis=-1)
