"""A stream is a batch that came in pieces; silence is no speech; a timeline is told on paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

import affetto
from affetto.align.activity import speech_probability
from affetto.bundle import Bundle
from affetto.errors import AffettoError
from affetto.labels import EMOTIONS
from affetto.predictor import Predictor
from affetto.records import Prediction, Word
from sounds import voice_like

RATE = 16000
ANGER, HAPPINESS = 0.1, -0.1  # offsets of a voice, as the plain bundle hears them


def voice(seconds: float, offset: float, seed: int = 0) -> np.ndarray:
    sound = voice_like(seconds, seed=seed)
    return (sound - sound.mean() + offset).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * RATE), np.float32)


@pytest.fixture(scope="module")
def plain(plain_bundle: Bundle) -> Predictor:
    return Predictor(plain_bundle)


@pytest.fixture(scope="module")
def conversation() -> np.ndarray:
    """Four angry seconds, three of silence, four happy ones and a bit."""
    parts = [voice(4.0, ANGER), silence(3.0), voice(4.13, HAPPINESS, seed=1)]
    return np.concatenate(parts)


WORDS = (
    Word("furious", 0.2, 0.6),
    Word("hm", 1.2, 1.5),
    Word("happy", 7.2, 7.9),
    Word("happy.", 8.1, 8.4),
    Word("hm", 10.0, 10.6),
)


def streamed(
    predictor: Predictor,
    samples: np.ndarray,
    cuts: Sequence[int],
    words: Sequence[Word] = (),
    **options: object,
) -> tuple[Prediction, list]:
    """The answer to samples fed in chunks; a word comes with the chunk that its end is in."""
    session = predictor.stream(**options)
    seen = []
    waiting = sorted(words, key=lambda word: word.end)
    for start, end in zip([0, *cuts], [*cuts, len(samples)], strict=True):
        ready = [word for word in waiting if word.end * RATE <= end]
        waiting = waiting[len(ready) :]
        seen += session.feed(samples[start:end], ready)
    return session.finish(), seen


def same(one: Prediction, other: Prediction) -> None:
    first, second = one.to_dict(), other.to_dict()
    for answer in (first, second):
        del answer["elapsed"]
    assert first == second


def cuts_of(length: int, seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 60))
    return sorted(rng.integers(0, length + 1, count).tolist())


# --- stream and batch ---


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_any_chunks_give_the_answer_of_the_whole(
    tiny_bundle: Bundle, precision: str, conversation: np.ndarray
) -> None:
    predictor = affetto.load(tiny_bundle.path, precision=precision)
    samples = np.concatenate([conversation, voice(3.0, 0.0, seed=2)])  # longer than a window
    words = [Word("I", 0.1, 0.3), Word("am", 1.0, 1.2), Word("so", 7.5, 7.7), Word("happy", 7.8, 8.2)]
    whole = predictor.predict(speech=samples, words=words, timeline=True)
    assert len(whole.segments) == 29
    for seed in range(4):
        answer, seen = streamed(predictor, samples, cuts_of(len(samples), seed), words)
        same(answer, whole)
        assert seen == list(whole.segments)[: len(seen)]


def test_results_come_as_soon_as_their_windows_close(plain: Predictor, conversation: np.ndarray) -> None:
    session = plain.stream()
    came = []
    for start in range(0, len(conversation), 800):
        now = (start + 800) / RATE
        came += [(segment.end, now) for segment in session.feed(conversation[start : start + 800])]
    assert [end for end, _ in came] == [0.5 * (k + 1) for k in range(len(came))]
    # The window reaches one second beyond its step; speech in it is settled at most 2.1 s after that.
    assert all(1.0 <= now - end <= 3.2 for end, now in came)
    assert len(session.finish().segments) == 23


def test_a_stream_without_a_timeline(plain: Predictor, conversation: np.ndarray) -> None:
    answer, seen = streamed(plain, conversation, [5000, 100000], timeline=False)
    assert (seen, answer.segments, answer.spans) == ([], (), ())
    assert answer.probabilities == plain.predict(speech=conversation).probabilities


def test_a_session_answers_once(plain: Predictor) -> None:
    session = plain.stream()
    session.feed(voice(1.0, ANGER))
    assert session.finish().emotion == "anger"
    for again in (session.finish, lambda: session.feed(voice(1.0, ANGER))):
        with pytest.raises(AffettoError, match="finished"):
            again()
    with pytest.raises(AffettoError) as caught:
        plain.stream().finish()
    assert caught.value.code == "nothing_to_predict"


@pytest.mark.parametrize("bad", [np.zeros((2, 9), np.float32), np.zeros(9, np.int16), np.full(9, np.nan)])
def test_chunks_that_make_no_sense(plain: Predictor, bad: np.ndarray) -> None:
    session = plain.stream()
    with pytest.raises(AffettoError):
        session.feed(bad)
    session.feed(voice(1.0, ANGER))
    assert session.finish().duration == 1.0


# --- the answer of long recordings ---


def test_long_speech_is_cut_at_its_pauses_and_answered_by_the_mean(plain: Predictor) -> None:
    angry = np.concatenate([voice(1.3, ANGER), silence(0.2) + np.float32(ANGER)])
    happy = np.concatenate([silence(0.2), voice(1.0, 0.0), silence(1.2)]) + np.float32(HAPPINESS)
    samples = np.concatenate([angry, happy])
    spoken = speech_probability(samples) > 0.5
    seconds = np.array([spoken[:150].sum(), spoken[150:].sum()])
    weights = seconds / seconds.sum()
    assert weights.min() > 0.3
    answer = plain.predict(speech=samples)
    logits = {"anger": 2.0 * (weights[0] - weights[1]), "happiness": -2.0 * (weights[0] - weights[1])}
    powers = np.exp([logits.get(name, 0.0) for name in EMOTIONS])
    assert list(answer.probabilities.values()) == pytest.approx(powers / powers.sum(), abs=0.02)
    assert answer.duration == pytest.approx(3.9)
    assert answer.tasks["valence"]["value"] == pytest.approx(2.0 * (weights[0] - weights[1]), abs=0.05)


def test_each_window_is_heard_with_its_own_words(plain: Predictor, conversation: np.ndarray) -> None:
    words = [Word("gloomy", 1.0, 1.4)]
    early = plain.predict(speech=conversation, words=words)
    late = plain.predict(speech=conversation, words=[Word("gloomy", 5.0, 5.4)])  # nobody speaks there
    assert early.probabilities["sadness"] > late.probabilities["sadness"]
    assert late.probabilities == plain.predict(speech=conversation).probabilities


def test_a_remainder_too_short_joins_the_window_before(plain: Predictor) -> None:
    samples = voice(4.15, ANGER)
    samples[-int(0.15 * RATE) :] += 1.0  # would shout if it stood alone
    answer = plain.predict(speech=samples)
    alone = [float(samples[a:b].mean()) * 20 for a, b in ((0, 2 * RATE), (2 * RATE, len(samples)))]
    assert alone[1] > alone[0] > 0
    assert 2 * alone[0] < 2 * answer.tasks["valence"]["value"] < 2 * alone[1]


# --- the timeline ---


def test_a_timeline_told_on_paper(plain: Predictor, conversation: np.ndarray) -> None:
    answer = plain.predict(speech=conversation, words=WORDS, timeline=True)
    steps = answer.segments
    assert [step.start for step in steps] == [0.5 * k for k in range(23)]
    assert steps[-1].end == answer.duration == pytest.approx(11.13)
    assert steps[0].words == ("furious",)
    assert steps[15].words == ("happy",)  # its middle is at 7.55
    assert {step.emotion for step in steps[:7]} == {"anger"}
    for step in steps[9:13]:  # from 4.5 to 6.5 s
        assert (step.emotion, step.reason, step.probabilities) == (None, "no_speech", {})
        assert step.speech < 0.1
    assert all("text" in step.modalities for step in steps[15:17])
    assert "text" not in steps[6].modalities
    spans = answer.spans
    assert [span.emotion for span in spans] == ["anger", None, "happiness"]
    assert [span.reason for span in spans] == [None, "no_speech", None]
    assert spans[0].end == pytest.approx(4.0, abs=0.51)
    assert spans[2].start == pytest.approx(7.0, abs=0.51)
    assert spans[2].words == ("happy", "happy.", "hm")
    assert [span.start for span in spans[1:]] == [span.end for span in spans[:-1]]
    assert answer.words == WORDS


def test_a_text_without_times_is_spread_and_marked(plain: Predictor, conversation: np.ndarray) -> None:
    answer = plain.predict(speech=conversation, text="happy hm gloomy", timeline=True)
    assert [word.text for word in answer.words] == ["happy", "hm", "gloomy"]
    assert all(word.estimated for word in answer.words)
    said = [word for step in answer.segments for word in step.words]
    assert said == ["happy", "hm", "gloomy"]
    # Of eleven seconds, it is not known which ones it belongs to.
    assert not any("text" in step.modalities for step in answer.segments)
    assert answer.modalities["text"].emotion == "happiness"
    assert plain.predict(speech=conversation, text="happy").words == ()


def test_a_text_that_fits_into_one_window_counts_where_it_is_spread(plain: Predictor) -> None:
    samples = np.concatenate([voice(0.9, 0.0), silence(0.5), voice(0.6, 0.0)])
    answer = plain.predict(speech=samples, text="happy happy happy gloomy gloomy", timeline=True)
    assert answer.segments[0].words == ("happy", "happy")
    assert answer.segments[-1].words == ("gloomy", "gloomy")
    assert all("text" in step.modalities for step in answer.segments if step.words)
    streamed_answer, _ = streamed(plain, samples, [700, 15000], text="happy happy happy gloomy gloomy")
    same(streamed_answer, answer)


def test_words_alone_have_a_timeline(plain: Predictor) -> None:
    answer = plain.predict(words=WORDS, timeline=True)
    assert len(answer.segments) == 22
    assert answer.segments[0].speech is None
    assert answer.segments[0].emotion == "anger"
    assert answer.segments[8].reason == "no_speech"
    assert answer.duration is None
    assert answer.missing == ("speech", "vision")


def test_a_word_that_comes_late_is_shown_but_no_evidence(plain: Predictor, conversation: np.ndarray) -> None:
    session = plain.stream()
    session.feed(conversation)
    session.feed(np.zeros(0, np.float32), [Word("gloomy", 0.1, 0.4)])
    answer = session.finish()
    assert answer.segments[0].words == ("gloomy",)
    assert "text" not in answer.segments[0].modalities
    assert answer.warnings == ("words_late",)


def test_words_that_come_later_change_no_window_that_is_answered(plain: Predictor) -> None:
    long = np.concatenate([voice(4.0, ANGER), voice(4.0, HAPPINESS)])
    late = [Word("gloomy", 6.5, 7.0)]
    streamed = plain.stream(text="happy")
    streamed.feed(long[: 5 * RATE])
    streamed.feed(long[5 * RATE :], words=late)
    whole = plain.predict(speech=long, text="happy", words=late)
    assert streamed.finish().probabilities == whole.probabilities
    assert whole.probabilities != plain.predict(speech=long, words=late).probabilities


def test_words_have_time_to_be_recognised(variant: Callable[..., Bundle], plain_bundle: Bundle) -> None:
    parts = plain_bundle.info.parts.model_dump()
    parts["speech"]["window_seconds"] = 8.0
    predictor = Predictor(variant(parts=parts))
    samples, words = voice(10.5, ANGER), [Word("gloomy", 6.0, 7.0)]
    session = predictor.stream(timeline=False)
    session.feed(samples[: 10 * RATE])
    session.feed(samples[10 * RATE :], words)  # three seconds late
    answer = session.finish()
    assert answer.warnings == ()
    assert answer.probabilities == predictor.predict(speech=samples, words=words).probabilities
    assert answer.probabilities["sadness"] > predictor.predict(speech=samples).probabilities["sadness"]


def test_words_after_the_end_do_not_count(plain: Predictor) -> None:
    samples = voice(1.5, ANGER)
    words = [Word("hm", 0.2, 0.5), Word("happy", 600.0, 601.0)]
    answer = plain.predict(speech=samples, words=words, timeline=True)
    assert answer.warnings == ("words_after_end",)
    assert answer.words == (words[0],)
    assert len(answer.segments) == 3
    assert answer.probabilities == plain.predict(speech=samples, words=words[:1]).probabilities


def test_faces_stand_where_they_were_seen(plain: Predictor, conversation: np.ndarray) -> None:
    white = np.ones((3, 32, 32), np.float32)
    session = plain.stream()
    session.feed(conversation, faces=[(0.25, white), (0.75, white), (5.75, white)])
    answer = session.finish()
    seen = [0.5 * k for k, step in enumerate(answer.segments) if "vision" in step.modalities]
    # Speech counts a face within its window of a second to either side; silence one in the step itself.
    assert seen == [0.0, 0.5, 1.0, 1.5, 5.5]
    assert answer.segments[11].emotion == "surprise"


def test_a_picture_stands_beside_all_that_is_spoken(plain: Predictor, conversation: np.ndarray) -> None:
    answer = plain.predict(speech=conversation, vision=np.full((40, 40, 3), 255, np.uint8), timeline=True)
    assert all(("vision" in step.modalities) == ("speech" in step.modalities) for step in answer.segments)


def test_a_bundle_without_emotion_has_no_timeline(variant: Callable[..., Bundle]) -> None:
    bundle = variant(tasks=[{"name": "valence", "kind": "dimension", "views": ["speech"]}])
    answer = Predictor(bundle).predict(speech=voice(2.0, ANGER), timeline=True)
    assert (answer.segments, answer.spans) == ((), ())


def test_ten_hours_are_not_kept(plain: Predictor) -> None:
    """What a session holds after minutes is what it held after one: the last windows."""
    session = plain.stream()
    block = voice(10.0, ANGER)
    sizes = []
    for _ in range(12):
        session.feed(block)
        sizes.append(len(session._sound._kept))
    assert max(sizes) <= 16 * RATE
