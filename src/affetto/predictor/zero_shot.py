"""Classes that were never trained, asked for by their names.

A bundle with towers puts each name, in all its templates, into the space that speech and pictures share; the
class is the one whose name lies nearest (Radford et al. 2021).

A bundle without towers still knows one thing that words and voices share: the emotions of its task. There a
name w stands for how its text part hears it, q(e | w), and an item x with the answer p(e | x) is given
P(w | x) = sum over e of p(e | x) * q(e | w) / sum over w' of q(e | w'). Names that the text part hears alike
cannot be told apart that way, and no name means more than the emotions it is made of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from affetto.bundle import BundleInfo
from affetto.errors import BundleError, ConfigError
from affetto.predictor.space import space_of, unit
from affetto.records import Prediction

if TYPE_CHECKING:
    from affetto.predictor.predict import Predictor

#: What a feeling's name is put into where there is no space: sentences that people say of themselves.
EMOTION_TEMPLATES = ("I am {}.", "I feel so {}!", "{}")


class ZeroShot:
    """The names asked for, each looked up once; then an answer for any number of items."""

    def __init__(self, predictor: Predictor, names: Sequence[str]) -> None:
        """Raises ConfigError `option_invalid` for fewer than two names, or one twice; BundleError
        `no_shared_space` where neither a space nor emotions in words can be asked."""
        if len(names) < 2 or len(set(names)) < len(names):
            raise ConfigError(
                "option_invalid", f"names {', '.join(names)!r}: give at least two to choose from, each once"
            )
        self._predictor, self.names = predictor, tuple(names)
        self._in_space = predictor.bundle.info.embedding is not None
        if self._in_space:
            self._prompts = np.stack([self._place(name) for name in names])
        else:
            self._prompts = np.stack([heard(predictor, name) for name in names])

    def answer(self, prediction: Prediction, **media: Any) -> dict[str, Any]:
        """{"label", "probabilities"} of an item: its prediction, and its media as `Predictor.embed` takes them
        (any of speech, text and vision, start, end), which are read where the bundle has a space."""
        if self._in_space:
            shares = softmax(space_of(self._predictor.bundle).scale * self._prompts @ self._seen(**media))
        else:
            shares = through_emotions(np.array(list(prediction.probabilities.values())), self._prompts)
        said = dict(zip(self.names, shares.tolist(), strict=True))
        return {"label": max(said, key=said.__getitem__), "probabilities": said}

    def _seen(self, *, start: float | None = None, end: float | None = None, **media: Any) -> np.ndarray:
        """The mean place of what is given and has a tower."""
        towers = space_of(self._predictor.bundle).modalities
        given = {name: source for name, source in media.items() if source is not None and name in towers}
        times: Mapping[str, Any] = {"start": start, "end": end}
        places = [
            self._predictor.embed(**{name: source}, **(times if name == "speech" else {}))
            for name, source in given.items()
        ]
        return unit(np.sum(places, axis=0))

    def _place(self, name: str) -> np.ndarray:
        templates = space_of(self._predictor.bundle).templates
        places = [self._predictor.embed(text=template.format(name)) for template in templates]
        return unit(np.sum(places, axis=0))


def heard(predictor: Predictor, name: str) -> np.ndarray:
    """How the text part hears a feeling's name, q(e | w) [E]: the mean over `EMOTION_TEMPLATES`.

    Raises BundleError `no_shared_space` where the bundle reads no emotions from English text.
    """
    _refuse_speechless(predictor.bundle.info)
    answers = (predictor.predict(text=template.format(name), language="en") for template in EMOTION_TEMPLATES)
    return np.mean([list(answer.probabilities.values()) for answer in answers], axis=0)


def through_emotions(emotions: np.ndarray, names: np.ndarray) -> np.ndarray:
    """P(w | x) [W] from p(e | x) [E] and q(e | w) [W E], each row summing to 1."""
    shares = names / np.maximum(names.sum(axis=0), 1e-12)
    found = shares @ emotions
    return found / found.sum()


def softmax(logits: np.ndarray) -> np.ndarray:
    """[C] to probabilities."""
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def _refuse_speechless(info: BundleInfo) -> None:
    task = info.task("emotion")
    if (
        info.parts.text is None
        or task is None
        or task.kind != "single-label"
        or "en" not in info.parts.text.languages
    ):
        raise BundleError(
            "no_shared_space",
            f"the bundle {info.name} has neither towers nor emotions that it reads from English text, so a name "
            "says nothing to it: train one with towers, as `affetto train digits` does",
        )
