"""Any subset of media in, an honest answer out; of the plain bundle it can be told on paper."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import affetto
from affetto import media
from affetto.bundle import Bundle
from affetto.errors import AffettoError
from affetto.evaluation.calibration import apply_vector_scaling
from affetto.labels import EMOTIONS
from affetto.predictor import Predictor
from affetto.records import MODALITIES, Clip, Word
from sounds import voice_like

RATE = 16000
WHITE = np.full((40, 40, 3), 255, np.uint8)


def hum(seconds: float, offset: float, loud: float = 1.0) -> np.ndarray:
    """A voice upon an offset: the plain bundle's anger is 20 x the offset."""
    voice = voice_like(seconds)
    return (loud * (voice - voice.mean()) + offset).astype(np.float32)


def softmax(**logits: float) -> dict[str, float]:
    powers = {name: math.exp(logits.get(name, 0.0)) for name in EMOTIONS}
    return {name: power / sum(powers.values()) for name, power in powers.items()}


@pytest.fixture(scope="module")
def plain(plain_bundle: Bundle) -> Predictor:
    return Predictor(plain_bundle)


def refused(code: str, predict: Callable[[], object]) -> str:
    with pytest.raises(AffettoError) as caught:
        predict()
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- subsets ---

INPUTS = {"speech": hum(1.0, 0.1), "text": "gloomy", "vision": WHITE}
LOGITS = {
    "speech": {"anger": 2.0, "happiness": -2.0},
    "text": {"sadness": 4.0},
    "vision": {"surprise": 4.0},
}


@pytest.mark.parametrize("subset", [s for n in (1, 2, 3) for s in itertools.combinations(MODALITIES, n)])
def test_each_of_the_seven_subsets(plain: Predictor, subset: tuple[str, ...]) -> None:
    answer = plain.predict(**{name: INPUTS[name] for name in subset})
    total = {k: v for name in subset for k, v in LOGITS[name].items()}
    assert answer.probabilities == pytest.approx(softmax(**total), abs=1e-4)
    assert sum(answer.probabilities.values()) == pytest.approx(1.0, abs=1e-6)
    assert answer.emotion == max(total, key=total.__getitem__)
    assert answer.confidence == max(answer.probabilities.values())
    assert tuple(answer.probabilities) == EMOTIONS
    assert answer.missing == tuple(name for name in MODALITIES if name not in subset)
    assert set(answer.modalities) == {"fused", *subset}
    for name in subset:
        verdict = answer.modalities[name]
        assert verdict.probabilities == pytest.approx(softmax(**LOGITS[name]), abs=1e-4)
        assert verdict.weight == pytest.approx(1 / len(subset), abs=1e-6)
    assert answer.duration == (1.0 if "speech" in subset else None)
    assert answer.model["licence"] == "CC0-1.0"
    assert answer.model["sha256"] == plain.bundle.sha256
    assert not answer.abstained
    assert answer.elapsed > 0


def test_only_the_parts_that_are_needed_are_loaded(
    plain_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    real = Bundle.read_part
    monkeypatch.setattr(
        Bundle, "read_part", lambda self, name, p: (read.append(name), real(self, name, p))[1]
    )
    predictor = Predictor(plain_bundle)
    predictor.predict(text="happy")
    predictor.predict(text="happy")
    assert read == ["text", "fusion"]
    predictor.prepare(["speech", "nonsense"])
    assert read == ["text", "fusion", "speech"]


def test_the_answer_is_the_documented_shape(plain: Predictor) -> None:
    answer = plain.predict(speech=INPUTS["speech"], file="call.wav").to_dict()
    assert answer["file"] == "call.wav"
    keys = "emotion file duration confidence abstained reason probabilities modalities missing segments spans"
    assert list(answer) == [*keys.split(), "words", "tasks", "warnings", "model", "elapsed"]
    assert answer["modalities"]["speech"].keys() == {"weight", "emotion", "probabilities"}


# --- media ---


def test_path_bytes_and_array_say_the_same(plain: Predictor, wav: Callable[..., Path]) -> None:
    samples = hum(0.7, 0.05)
    path = wav(samples)
    by_path, by_name, by_bytes = (plain.predict(speech=s) for s in (path, str(path), path.read_bytes()))
    by_array = plain.predict(speech=samples)
    for answer in (by_path, by_name, by_bytes):
        assert answer.probabilities == pytest.approx(by_array.probabilities, abs=1e-6)
    assert by_path.file == by_name.file == str(path)
    assert by_bytes.file is None


def test_a_picture_that_is_no_face_is_said_so(plain: Predictor, face: bytes) -> None:
    assert plain.predict(vision=WHITE).warnings == ("face_not_located",)
    assert plain.predict(vision=face).warnings == ()


class CountingDecoder:
    """The media package, and what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def iter_audio(
        self, source: object, *, start: float | None, end: float | None, **options: object
    ) -> Iterator[np.ndarray]:
        self.asked.append((source, start, end))
        return media.iter_audio(source, start=start, end=end, **options)  # type: ignore[arg-type]

    def decode_image(self, source: object) -> np.ndarray:
        self.asked.append(source)
        return media.decode_image(source)  # type: ignore[arg-type]


def test_the_decoder_handed_in_opens_the_media(
    plain_bundle: Bundle, wav: Callable[..., Path], face: bytes
) -> None:
    decoder = CountingDecoder()
    path = wav(hum(1.0, 0.1))
    affetto.load(plain_bundle.path, decoder=decoder).predict(speech=path, vision=face)
    assert decoder.asked == [face, (path, None, None)]


def test_arrays_that_make_no_sense(plain: Predictor) -> None:
    refused("audio_corrupt", lambda: plain.predict(speech=np.zeros((2, 100), np.float32)))
    refused("audio_corrupt", lambda: plain.predict(speech=np.zeros(16000, np.int16)))
    refused("audio_empty", lambda: plain.predict(speech=np.zeros(0, np.float32)))
    refused("audio_silent", lambda: plain.predict(speech=np.zeros(16000, np.float32)))
    for bad in (np.nan, np.inf):
        samples = hum(1.0, 0.0)
        samples[77] = bad
        refused("audio_not_finite", lambda samples=samples: plain.predict(speech=samples))
    assert "0.10 s" in refused("audio_too_short", lambda: plain.predict(speech=hum(0.1, 0.1)))
    for pixels in (np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8)):
        refused("image_corrupt", lambda pixels=pixels: plain.predict(vision=pixels))


def test_nothing_to_predict(plain: Predictor) -> None:
    refused("nothing_to_predict", plain.predict)
    refused("nothing_to_predict", lambda: plain.predict_clip(Clip("a", text="hi", scripted=True)))
    refused("text_empty", lambda: plain.predict(text=" \n"))
    refused("media_not_found", lambda: plain.predict(speech="no/such/file.wav"))


# --- clips ---


def test_a_clip_is_its_part_of_the_recording(plain: Predictor, wav: Callable[..., Path]) -> None:
    path = wav(np.concatenate([hum(1.0, 0.1), hum(1.0, -0.1)]))
    whole = Clip("a", speech=str(path))
    assert plain.predict_clip(Clip("a", speech=str(path), end=1.0)).emotion == "anger"
    second = plain.predict_clip(Clip("b", speech=str(path), start=1.0))
    assert (second.emotion, second.duration, second.file) == ("happiness", 1.0, str(path))
    assert plain.predict_clip(whole).duration == 2.0


def test_the_words_of_a_clip_are_those_of_its_part(plain: Predictor, wav: Callable[..., Path]) -> None:
    path = str(wav(hum(3.0, 0.0)))
    words = (Word("furious", 0.1, 0.5), Word("happy", 1.2, 1.4), Word("gloomy", 2.5, 2.9))
    part = plain.predict_clip(Clip("a", speech=path, start=1.0, end=2.0, words=words))
    assert [(word.text, round(word.start, 3)) for word in part.words] == [("happy", 0.2)]
    assert part.emotion == "happiness"
    assert part.warnings == ()


def test_scripted_words_are_no_evidence(plain: Predictor, wav: Callable[..., Path]) -> None:
    path = str(wav(hum(1.0, 0.1)))
    said = plain.predict_clip(Clip("a", speech=path, text="gloomy", scripted=True))
    assert said.emotion == "anger"
    assert "text" in said.missing
    assert plain.predict_clip(Clip("a", speech=path, text="gloomy")).emotion == "sadness"


def test_one_bad_clip_fails_no_other(plain: Predictor, wav: Callable[..., Path]) -> None:
    clips = [
        Clip("a", speech=str(wav(hum(1.0, 0.1)))),
        Clip("b", speech="gone.wav"),
        Clip("c", text="happy"),
    ]
    results = list(plain.predict_many(clips))
    assert [clip.id for clip, _ in results] == ["a", "b", "c"]
    assert [getattr(r, "emotion", None) or r.code for _, r in results] == [
        "anger",
        "media_not_found",
        "happiness",
    ]


# --- speech and silence ---


def test_silence_is_no_speech(plain: Predictor) -> None:
    quiet = np.full(5 * RATE, 0.001, np.float32)
    alone = plain.predict(speech=quiet)
    assert (alone.emotion, alone.abstained, alone.reason) == (None, True, "no_speech")
    assert sum(alone.probabilities.values()) == pytest.approx(1.0, abs=1e-6)
    both = plain.predict(speech=quiet, text="happy")
    assert (both.emotion, both.warnings) == ("happiness", ("no_speech",))
    assert both.probabilities == plain.predict(text="happy").probabilities
    assert both.missing == ("speech", "vision")


# --- labels, confidence, languages, tasks ---


def test_labels_restrict_and_renormalise(plain: Predictor) -> None:
    free = plain.predict(text="gloomy happy").probabilities
    answer = plain.predict(text="gloomy happy", labels=["Sad", "fearful", "disgust"])
    total = free["sadness"] + free["fear"] + free["disgust"]
    assert answer.emotion == "sadness"
    assert list(answer.probabilities) == ["disgust", "fear", "sadness"]
    for name, share in answer.probabilities.items():
        assert share == pytest.approx(free[name] / total)
    assert list(answer.modalities["text"].probabilities) == ["disgust", "fear", "sadness"]


def test_labels_that_cannot_be(plain: Predictor, variant: Callable[..., Bundle]) -> None:
    assert "happiness" in refused("label_unknown", lambda: plain.predict(text="hm", labels=["sad", "bored"]))
    refused("option_invalid", lambda: plain.predict(text="hm", labels=["sad", "sadness"]))
    refused("option_invalid", lambda: plain.predict(text="hm", labels=[]))
    tasks = [
        {"name": "emotion", "kind": "single-label", "labels": [f"l{i}" for i in range(7)], "views": ["text"]}
    ]
    own = Predictor(variant(tasks=tasks))
    assert list(own.predict(text="hm", labels=["l3", "l0"]).probabilities) == ["l0", "l3"]
    refused("label_unknown", lambda: own.predict(text="hm", labels=["sad", "l0"]))


def calibrated(**calibration: object) -> dict:
    return {"calibration": {"int8": {"emotion": {"text": calibration}}}}


def test_unsure_below_the_threshold(variant: Callable[..., Bundle]) -> None:
    answer = Predictor(variant(**calibrated(abstain_below=0.5))).predict(text="hm")
    assert (answer.emotion, answer.abstained, answer.reason) == (None, True, "low_confidence")
    assert answer.probabilities["neutral"] == max(answer.probabilities.values()) == answer.confidence
    sure = Predictor(variant(**calibrated(abstain_below=0.5))).predict(text="happy")
    assert (sure.emotion, sure.abstained, sure.reason) == ("happiness", False, None)


def test_temperature_belongs_to_precision_subset_and_view(variant: Callable[..., Bundle]) -> None:
    bundle = variant(**calibrated(temperatures={"vote": 2.0, "text": 4.0}))
    answer = Predictor(bundle).predict(text="happy")
    assert answer.probabilities == pytest.approx(softmax(happiness=2.0))
    assert answer.modalities["text"].probabilities == pytest.approx(softmax(happiness=1.0))
    assert answer.modalities["fused"].probabilities == pytest.approx(softmax(happiness=4.0))
    assert answer.warnings == ()
    for predictor, inputs in (
        (Predictor(bundle, precision="fp32"), {"text": "happy"}),
        (Predictor(bundle), {"text": "happy", "speech": hum(1.0, 0.1)}),
    ):
        assert predictor.predict(**inputs).warnings == ("not_calibrated",)


def test_vectors_take_the_place_of_the_temperature_of_their_view(variant: Callable[..., Bundle]) -> None:
    rng = np.random.default_rng(0)
    scale, bias = rng.uniform(0.3, 2, 7), rng.normal(size=7)
    vectors = {"vote": {"scale": scale.tolist(), "bias": bias.tolist()}}
    calibration = calibrated(vectors=vectors, temperatures={"vote": 5.0, "text": 4.0})
    predictor = Predictor(variant(**calibration))
    logits = np.where(np.array(EMOTIONS) == "happiness", 4.0, 0.0)[None]
    answer = predictor.predict(text="happy")
    expected = apply_vector_scaling(logits, scale, bias)[0]
    assert [*answer.probabilities.values()] == pytest.approx(expected, abs=1e-12)
    assert answer.modalities["text"].probabilities == pytest.approx(softmax(happiness=1.0))
    kept = [EMOTIONS.index(name) for name in ("anger", "happiness", "sadness")]
    answer = predictor.predict(text="happy", labels=["sadness", "anger", "happiness"])
    expected = apply_vector_scaling(logits[:, kept], scale[kept], bias[kept])[0]
    assert [*answer.probabilities] == ["anger", "happiness", "sadness"]
    assert [*answer.probabilities.values()] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("language", ["en", "EN", "en-GB", "en_US"])
def test_a_language_that_is_read(plain: Predictor, language: str) -> None:
    assert plain.predict(text="happy", language=language).emotion == "happiness"


@pytest.mark.parametrize(("text", "language"), [("happy", "de"), ("привет", None)])
def test_text_in_another_language_does_not_count(plain: Predictor, text: str, language: str | None) -> None:
    speech = hum(1.0, 0.1)
    alone = plain.predict(text=text, language=language)
    assert (alone.emotion, alone.abstained, alone.reason) == (None, True, "language_not_supported")
    assert alone.warnings == ("language_not_supported",)
    assert sum(alone.probabilities.values()) == pytest.approx(1.0)
    both = plain.predict(speech=speech, text=text, language=language)
    assert both.emotion == "anger"
    assert both.probabilities == plain.predict(speech=speech).probabilities
    assert both.warnings == ("language_not_supported",)
    assert "text" in both.missing
    assert "text" not in both.modalities


def test_a_language_that_was_stated_is_believed(plain: Predictor) -> None:
    assert plain.predict(text="привет", language="en").emotion == "fear"


def test_other_tasks_answer_beside_emotion(plain: Predictor, variant: Callable[..., Bundle]) -> None:
    answer = plain.predict(speech=hum(1.0, 0.1))
    assert answer.tasks["valence"] == {"value": pytest.approx(2.0, abs=1e-3)}
    assert answer.tasks["topics"]["labels"] == ["war"]
    assert answer.tasks["topics"]["probabilities"]["war"] == pytest.approx(1 / (1 + math.exp(-2)), abs=1e-3)
    assert "language" not in answer.tasks
    assert plain.predict(text="happy").tasks == {}  # both listen to speech alone
    thresholds = {"topics": {"speech": {"label_thresholds": {"war": 0.99, "peace": 0.01}}}}
    strict = Predictor(variant(calibration={"int8": thresholds}))
    assert strict.predict(speech=hum(1.0, 0.1)).tasks["topics"]["labels"] == ["peace"]


def test_a_bundle_without_emotion_answers_its_tasks(variant: Callable[..., Bundle]) -> None:
    bundle = variant(tasks=[{"name": "valence", "kind": "dimension", "views": ["speech"]}])
    answer = Predictor(bundle).predict(speech=hum(1.0, 0.1))
    assert (answer.emotion, answer.reason, answer.probabilities) == (None, "no_emotion_in_model", {})
    assert answer.tasks["valence"]["value"] == pytest.approx(2.0, abs=1e-3)


def test_a_modality_that_the_bundle_lacks_is_said(variant: Callable[..., Bundle]) -> None:
    bundle = variant(parts={"text": {"width": 8, "max_tokens": 16, "languages": ["en"]}})
    predictor = Predictor(bundle)
    refused("nothing_to_predict", lambda: predictor.predict(speech=hum(1.0, 0.1)))


# --- bundles ---


def test_precisions(plain_bundle: Bundle, variant: Callable[..., Bundle]) -> None:
    assert Predictor(plain_bundle).precision == "int8"
    assert affetto.load(plain_bundle.path, precision="fp32").precision == "fp32"
    small = variant(files={f"{name}.int8.onnx": None for name in (*MODALITIES, "fusion")})
    assert Predictor(small).precision == "fp32"
    assert "affetto export" in refused("bundle_not_found", lambda: Predictor(small, precision="int8"))
    refused("option_invalid", lambda: Predictor(plain_bundle, precision="fp64"))


def test_parts_that_cannot_run(variant: Callable[..., Bundle], plain_bundle: Bundle) -> None:
    no_model = Predictor(variant(files={"text.int8.onnx": b""}))
    refused("bundle_invalid", lambda: no_model.predict(text="happy"))
    swapped = Predictor(variant(files={"text.int8.onnx": plain_bundle.read("vision.int8.onnx")}))
    refused("internal", lambda: swapped.predict(text="happy"))


def test_a_model_that_says_nan_is_not_believed(plain_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affetto.predictor.parts._call", lambda session, part, names, feeds: [
        np.full((1, 4, 8), np.nan, np.float32) if part == "fusion" else np.ones((1, 4, 8), np.float32) for _ in names
    ])  # fmt: skip
    predictor = Predictor(plain_bundle)
    assert "not a finite number" in refused(
        "internal", lambda: predictor.predict(text="happy", language="en")
    )


def test_samples_of_another_scale_are_refused(plain: Predictor) -> None:
    assert "32768" in refused("audio_corrupt", lambda: plain.predict(speech=hum(1.0, 0.1) * 32768))


def test_threads_share_a_predictor(plain_bundle: Bundle) -> None:
    predictor = Predictor(plain_bundle)
    answers: dict[int, str | None] = {}

    def ask(i: int) -> None:
        text = ("happy", "gloomy")[i % 2]
        answers[i] = predictor.predict(text=text, speech=hum(0.5, 0.0)).emotion

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {i: ("happiness", "sadness")[i % 2] for i in range(8)}


# --- the exported bundle ---


@pytest.mark.parametrize("precision", ["int8", "fp32"])
@pytest.mark.parametrize("subset", [s for n in (1, 2, 3) for s in itertools.combinations(MODALITIES, n)])
def test_a_real_export_answers_every_subset(
    tiny_bundle: Bundle,
    voice: Callable[..., np.ndarray],
    face: bytes,
    precision: str,
    subset: tuple[str, ...],
) -> None:
    given = {"speech": voice(1.3), "text": "it rained all day", "vision": face}
    answer = affetto.load(tiny_bundle.path, precision=precision).predict(**{m: given[m] for m in subset})
    assert sum(answer.probabilities.values()) == pytest.approx(1.0, abs=1e-6)
    assert set(answer.modalities) == {"fused", *subset}
    assert sum(v.weight or 0.0 for v in answer.modalities.values()) == pytest.approx(1.0, abs=1e-5)
    assert answer.warnings == ()


def test_answering_never_imports_torch(
    plain_bundle: Bundle, wav: Callable[..., Path], tmp_path: Path
) -> None:
    picture = tmp_path / "face.png"
    from PIL import Image

    Image.fromarray(WHITE).save(picture)
    code = (
        "import sys, affetto; "
        f"affetto.load({str(plain_bundle.path)!r})"
        f".predict({str(wav(hum(1.0, 0.1)))!r}, 'happy', {str(picture)!r}); "
        "print(sorted({'torch', 'onnx', 'lightning', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
