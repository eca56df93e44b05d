"""What every answer says alike: names, reasons, times, and how long each emotion was heard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from affetto.records import MODALITIES, Prediction, Segment, Span

#: What a view is called for people.
VIEWS: Mapping[str, str] = {"speech": "speech", "text": "text", "vision": "face", "fused": "together"}
NOBODY = "nobody speaks"
UNSURE = "unsure"

REASONS: Mapping[str, str] = {
    "low_confidence": "no emotion stands out clearly enough",
    "language_not_supported": "the model does not read the language of this text",
    "no_emotion_in_model": "this model does not answer about emotion",
    "no_speech": "nobody speaks in this recording",
}
WARNINGS: Mapping[str, str] = {
    "face_not_located": "The picture was taken as a face crop, but it does not look like one.",
    "language_not_supported": "The model does not read the language of the text, so the text did not count.",
    "no_speech": "Nobody speaks in the recording, so it did not count.",
    "not_calibrated": "The probabilities are not calibrated for these inputs: read them as an order.",
    "speech_not_in_model": "This model does not listen to speech, so the recording did not count.",
    "text_not_in_model": "This model does not read text, so the text did not count.",
    "vision_not_in_model": "This model does not look at faces, so the picture did not count.",
    "words_after_end": "Some words lie after the end of the recording and did not count: do they belong to it?",
    "words_late": "Some words came after their part of the timeline was answered, so they did not count there.",
}


def called(step: Segment | Span) -> str | None:
    """What a step or span is called: its emotion, "unsure", or None where nobody speaks."""
    if step.emotion is not None:
        return step.emotion
    return UNSURE if step.reason == "low_confidence" else None


def clock(seconds: float) -> str:
    """A time for people: `0:02.5`, `1:00:00`. Tenths only where there are some, hours likewise."""
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    front = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    rest = f".{tenths % 10}" if tenths % 10 else ""
    return f"{front}:{tenths // 10:02d}{rest}"


def heard(spans: Iterable[Span]) -> dict[str, float]:
    """Seconds by emotion ("unsure" among them), the longest first; silence is left out."""
    seconds: dict[str, float] = {}
    for span in spans:
        name = called(span)
        if name is not None:
            seconds[name] = seconds.get(name, 0.0) + span.end - span.start
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def length(prediction: Prediction) -> float:
    """Seconds from the start to the end of all that the prediction holds."""
    last = prediction.segments[-1].end if prediction.segments else 0.0
    ends = [span.end for span in prediction.spans] + [word.end for word in prediction.words]
    return max([prediction.duration or 0.0, last, *ends])


def labels(prediction: Prediction) -> list[str]:
    """The emotions that an answer is about, in the model's order."""
    return list(_names([prediction.probabilities, *(step.probabilities for step in prediction.segments)]))


def views(prediction: Prediction) -> list[str]:
    """The views with a verdict somewhere in the answer: modalities in their order, then `fused` and others."""
    found = _names([prediction.modalities, *(step.modalities for step in prediction.segments)])
    return [*(m for m in MODALITIES if m in found), *(view for view in found if view not in MODALITIES)]


def _names(mappings: Iterable[Mapping[str, object]]) -> dict[str, None]:
    return {name: None for mapping in mappings for name in mapping}
