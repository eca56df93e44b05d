"""Enrolment: what all answers have in common is the voice where they vary, and the mood where they do not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from affetto.bundle import Bundle
from affetto.enrolment import (
    PRIOR_CLIPS,
    STRENGTH,
    Speaker,
    learn_speaker,
    read_speaker,
    variety,
    write_speaker,
)
from affetto.errors import DataError
from affetto.predictor import Predictor
from affetto.records import Prediction, Verdict
from sounds import voice_like

LABELS = ("anger", "neutral", "sadness")
MODEL = {"name": "m", "sha256": "ab" * 32}


def answer(*logits: float, reason: str | None = None) -> Prediction:
    powers = np.exp(np.array(logits, float))
    said = dict(zip(LABELS, (powers / powers.sum()).tolist(), strict=True))
    best = max(said, key=said.__getitem__)
    verdicts = {"speech": Verdict(best, said)}
    return Prediction(best, said[best], said, verdicts, missing=(), reason=reason, model=MODEL)


def varied(n: int, lean: tuple[float, ...] = (0.0, 0.0, 1.5)) -> list[Prediction]:
    """n clips of each emotion, told by 4 logits, in a voice that leans."""
    return [answer(*(4.0 * np.eye(3)[emotion] + lean)) for _ in range(n) for emotion in range(3)]


def test_the_lean_of_varied_clips_is_taken_off_by_the_formula() -> None:
    speaker = learn_speaker(varied(4))
    # The mean of centred logits: (4 / 3 + lean) less their mean.
    lean = np.array([0.0, 0.0, 1.5]) - 0.5
    expected = -lean * STRENGTH * 12 / (12 + PRIOR_CLIPS)
    assert [*speaker.shift.values()] == pytest.approx(expected.tolist(), abs=1e-5)
    assert tuple(speaker.shift) == LABELS
    assert (speaker.clips, speaker.model, speaker.sha256) == (12, "m", MODEL["sha256"])


def test_a_sad_person_is_no_sad_voice() -> None:
    assert set(learn_speaker([answer(0, 0, 3)] * 20).shift.values()) == {0.0}


def test_who_knows_that_alike_answers_are_of_all_moods_is_believed() -> None:
    clips = [answer(0, 0, 3), answer(0, 0, 2)] * 10
    assert set(learn_speaker(clips).shift.values()) == {0.0}
    speaker = learn_speaker(clips, all_moods=True)
    lean = np.array([0.0, 0.0, 2.5]) - 2.5 / 3
    expected = -lean * STRENGTH * 20 / (20 + PRIOR_CLIPS)
    assert [*speaker.shift.values()] == pytest.approx(expected.tolist(), abs=1e-5)
    assert learn_speaker(varied(20), all_moods=True) == learn_speaker(varied(20))


def test_few_clips_correct_less() -> None:
    few, many = learn_speaker(varied(1)), learn_speaker(varied(20))
    assert 0 < abs(few.shift["sadness"]) < 0.5 * abs(many.shift["sadness"])


def test_variety_is_the_information_of_a_clip() -> None:
    sure = np.eye(4)
    assert variety(sure) == pytest.approx(1.0)
    assert variety(sure[[0, 0, 0]]) == pytest.approx(0.0, abs=1e-9)
    assert variety(sure[[0, 1]]) == pytest.approx(math.log(2) / math.log(4))
    assert variety(np.full((5, 4), 0.25)) == pytest.approx(0.0, abs=1e-9)


def test_only_clips_with_speech_count() -> None:
    assert learn_speaker([*varied(2), answer(9, 0, 0, reason="no_speech")]) == learn_speaker(varied(2))
    with pytest.raises(DataError) as caught:
        learn_speaker([answer(9, 0, 0, reason="no_speech")])
    assert caught.value.code == "nothing_to_predict"


# --- the file ---


def test_a_speaker_is_read_as_written(tmp_path: Path) -> None:
    speaker = learn_speaker(varied(3))
    write_speaker(tmp_path / "anna.json", speaker)
    assert read_speaker(tmp_path / "anna.json") == speaker
    assert (tmp_path / "anna.json").stat().st_size < 1000


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"shift": {"anger": math.nan}},
        {"shift": {}},
        {"shift": 1},
        {"clips": None},
        {"sha256": ...},
    ],
)
def test_what_is_no_speaker_is_refused(tmp_path: Path, change: Mapping[str, object]) -> None:
    path = tmp_path / "anna.json"
    write_speaker(path, learn_speaker(varied(1)))
    record = {**json.loads(path.read_bytes()), **change}
    path.write_text(json.dumps({name: value for name, value in record.items() if value is not ...}))
    with pytest.raises(DataError) as caught:
        read_speaker(path)
    assert caught.value.code == "speaker_invalid"


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b"{" * 5000])
def test_noise_is_no_speaker(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "anna.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_speaker(path)
    assert caught.value.code == "speaker_invalid"
    assert str(path) in str(caught.value)


# --- in the answer ---


def heard(offset: float) -> np.ndarray:
    voice = voice_like(1.0)
    return (voice - voice.mean() + offset).astype(np.float32)


def speaker_of(bundle: Bundle, **shift: float) -> Speaker:
    return Speaker(shift, 20, 0.5, bundle.info.name, bundle.sha256)


@pytest.mark.parametrize(
    ("beside", "share"),
    [({}, 1.0), ({"text": "gloomy"}, 0.5), ({"text": "hm", "labels": ["anger", "sad"]}, 0.5)],
)
def test_the_shift_counts_as_much_as_the_speech(
    plain_bundle: Bundle, beside: dict[str, object], share: float
) -> None:
    model = Predictor(plain_bundle)
    plain = model.predict(speech=heard(0.1), **beside)  # type: ignore[arg-type]
    known = model.predict(
        speech=heard(0.1),
        speaker=speaker_of(plain_bundle, anger=-2.0, sadness=1.0),
        **beside,  # type: ignore[arg-type]
    )

    def odds(answer: Mapping[str, float]) -> float:
        return math.log(answer["anger"] / answer["sadness"])

    assert odds(known.probabilities) - odds(plain.probabilities) == pytest.approx(-3.0 * share, abs=1e-4)
    change = odds(known.modalities["speech"].probabilities) - odds(plain.modalities["speech"].probabilities)
    assert change == pytest.approx(-3.0, abs=1e-4)
    if "text" in beside:
        assert known.modalities["text"] == plain.modalities["text"]


def test_without_speech_nothing_changes(plain_bundle: Bundle) -> None:
    model = Predictor(plain_bundle)
    known = model.predict(text="gloomy", speaker=speaker_of(plain_bundle, anger=-2.0))
    assert known.probabilities == model.predict(text="gloomy").probabilities


def test_a_stream_knows_the_speaker_too(plain_bundle: Bundle) -> None:
    model, speaker = Predictor(plain_bundle), speaker_of(plain_bundle, anger=-2.0, sadness=1.0)
    session = model.stream(speaker=speaker)
    session.feed(heard(0.1))
    whole = model.predict(speech=heard(0.1), timeline=True, speaker=speaker)
    streamed = session.finish()
    assert streamed.probabilities == whole.probabilities
    assert streamed.segments[0].probabilities == whole.segments[0].probabilities


def test_a_speaker_of_another_model_is_refused(plain_bundle: Bundle, variant: Callable[..., Bundle]) -> None:
    speaker = speaker_of(plain_bundle, anger=1.0)
    with pytest.raises(DataError) as caught:
        Predictor(variant(name="other")).predict(speech=heard(0.1), speaker=speaker)
    assert caught.value.code == "speaker_other_model"
    assert "enrol the clips again" in str(caught.value)
