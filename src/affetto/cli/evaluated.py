"""The report of `affetto evaluate`: what is asked beyond the clips as they are, and the files that come of it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affetto.errors import AffettoError, ConfigError, DataError
from affetto.evaluation.answers import Answer, Trial, from_lines, to_lines
from affetto.records import MODALITIES, Clip, Prediction

if TYPE_CHECKING:
    from affetto.media.worker import DecodingWorker
    from affetto.predictor import Predictor

LEVELS = (20.0, 10.0, 0.0)  # dB of speech over the noise added
_PLAYED = 8.0  # seconds of a mistake that stand in the page


def check_report(report: Path | None, against: Path | None) -> None:
    """Raises ConfigError `option_invalid` for a page that cannot be, before anything is measured."""
    if report is not None and report.suffix != ".html":
        raise ConfigError("option_invalid", f"report {report}: expected a name ending in .html")
    if against is not None and report is None:
        raise ConfigError("option_invalid", f"against {against}: it is told on the page; give --report too")
    if against is not None:
        _stored(against)


def write_report(
    report: Path,
    outcomes: Sequence[tuple[Clip, str, Prediction | AffettoError]],
    predictor: Predictor,
    decoder: DecodingWorker,
    *,
    title: str,
    facts: Sequence[tuple[str, str]],
    noise: bool,
    against: Path | None,
) -> None:
    """Ask what the page needs beside the outcomes, store all answers, and write the page of what is stored.

    Beside `NAME.html` lies `NAME.predictions.jsonl`. Raises DataError `output_unwritable`.
    """
    from affetto.cli.predict import tracked
    from affetto.evaluation.page import report_page
    from affetto.evaluation.summary import mistakes
    from affetto.files import write_whole

    truths = {clip.id: truth for clip, truth, _ in outcomes}
    clips = {clip.id: clip for clip, _, said in outcomes if isinstance(said, Prediction)}
    known = predictor.bundle.info.parts.media()
    found = [_answer(clip, truth, said, "all", _inputs(clip, known)) for clip, truth, said in outcomes]
    labels = next((tuple(said.probabilities) for _, _, said in outcomes if isinstance(said, Prediction)), ())
    for clip in tracked(list(clips.values())):
        found += _subsets(predictor, clip, truths[clip.id], known, labels)
        if noise and clip.speech is not None and "speech" in known:
            found += _noisy(predictor, decoder, clip, truths[clip.id], labels)
    stored = report.with_suffix(".predictions.jsonl")
    write_whole(stored, to_lines(found).encode("utf-8", errors="replace"))
    answers = _stored(stored)
    sounds = {a.id: _played(clips[a.id], decoder) for a in mistakes(answers) if a.id in clips}
    text = report_page(
        answers,
        title=title,
        facts=[*facts, *_about(predictor), ("answers", stored.name)],
        config=_settings(predictor),
        sounds={name: sound for name, sound in sounds.items() if sound is not None},
        against=_stored(against) if against is not None else (),
    )
    write_whole(report, text.encode("utf-8", errors="replace"))


# --- what is asked ---


def _inputs(clip: Clip, known: Sequence[str]) -> tuple[str, ...]:
    """The modalities of a clip that the model answers; words with times are text, unless they were scripted."""
    present = {*clip.modalities(), *(("text",) if clip.words and not clip.scripted else ())}
    return tuple(name for name in MODALITIES if name in present and name in known)


def _subsets(
    predictor: Predictor, clip: Clip, truth: str, known: Sequence[str], labels: Sequence[str]
) -> Iterator[Answer]:
    """The answers to every part of a clip's modalities that is not all of them."""
    inputs = _inputs(clip, known)
    parts = [part for size in range(1, len(inputs)) for part in combinations(inputs, size)]
    cut = [
        replace(
            clip,
            speech=clip.speech if "speech" in part else None,
            text=clip.text if "text" in part else None,
            words=clip.words if "text" in part else (),
            vision=clip.vision if "vision" in part else None,
        )
        for part in parts
    ]
    outcomes = predictor.predict_many(cut, labels=labels)
    for part, (_, outcome) in zip(parts, outcomes, strict=True):
        yield _answer(clip, truth, outcome, "subset", part)


def _noisy(
    predictor: Predictor, decoder: DecodingWorker, clip: Clip, truth: str, labels: Sequence[str]
) -> Iterator[Answer]:
    """The answers to a clip's speech alone with white noise, the same at every level; none if it has no sound."""
    try:
        samples = decoder.decode_audio(clip.speech or "", start=clip.start, end=clip.end)
    except AffettoError:
        return
    hiss = np.random.default_rng(zlib.crc32(clip.id.encode())).standard_normal(len(samples), dtype=np.float32)
    for level in LEVELS:
        outcome: Prediction | AffettoError
        try:
            outcome = predictor.predict(speech=with_noise(samples, hiss, level), labels=labels)
        except AffettoError as error:
            outcome = error
        yield _answer(clip, truth, outcome, "noise", ("speech",), level)


def with_noise(samples: NDArray[np.float32], noise: NDArray[np.float32], snr: float) -> NDArray[np.float32]:
    """Samples [N] and noise [N], whose mean power is `snr` dB below theirs."""
    power, own = np.mean(np.square(samples), dtype=np.float64), np.mean(np.square(noise), dtype=np.float64)
    return samples + noise * np.float32(np.sqrt(power / own * 10 ** (-snr / 10)))


def _answer(
    clip: Clip,
    truth: str,
    outcome: Prediction | AffettoError,
    trial: Trial,
    inputs: tuple[str, ...],
    snr: float | None = None,
) -> Answer:
    asked = Answer(
        id=clip.id,
        truth=truth,
        trial=trial,
        inputs=inputs,
        snr=snr,
        speaker=clip.speaker,
        gender=clip.gender,
        language=clip.language,
        corpus=clip.corpus,
        text=clip.text,
    )
    if isinstance(outcome, AffettoError):
        return replace(asked, error=outcome.code)
    return replace(
        asked,
        probabilities=dict(outcome.probabilities),
        abstained=outcome.abstained,
        reason=outcome.reason,
    )


# --- what the page says beside the figures ---


def _stored(path: Path) -> list[Answer]:
    try:
        return from_lines(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            "predictions_invalid", f"cannot read {path}: {error}; name the .predictions.jsonl of a report"
        ) from error


def _played(clip: Clip, decoder: DecodingWorker) -> bytes | None:
    """The first seconds of a clip's recording as FLAC; None where it has none."""
    from affetto.timeline.sound import listen

    if clip.speech is None:
        return None
    start = clip.start or 0.0
    end = start + _PLAYED if clip.end is None else min(clip.end, start + _PLAYED)
    try:
        return listen([decoder.decode_audio(clip.speech, start=start, end=end)])[1]
    except AffettoError:
        return None


def _about(predictor: Predictor) -> list[tuple[str, str]]:
    info = predictor.bundle.info
    facts = [
        ("model", f"{info.name} {info.version}, {predictor.precision}"),
        ("sha256", predictor.bundle.sha256),
        ("licence", info.licence),
        ("trained on", ", ".join(corpus.name for corpus in info.corpora)),
        (
            "never trained on",
            "; ".join(f"{', '.join(who)} of {corpus}" for corpus, who in info.reserved.items()),
        ),
        ("trained although", "; ".join(info.leaks)),
        ("affetto", version("affetto")),
    ]
    return [(name, value) for name, value in facts if value]


def _settings(predictor: Predictor) -> str:
    """The `config.json` of the model; nothing where the bundle holds none."""
    bundle = predictor.bundle
    if "config.json" not in bundle.info.files:
        return ""
    return json.dumps(json.loads(bundle.read("config.json")), indent=1, ensure_ascii=False)
