"""Places in one space: of the plain bundle, whose Tracks are their own embeddings, they can be told on paper."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from affetto.bundle import Bundle, EmbeddingInfo
from affetto.cli import app
from affetto.errors import AffettoError, BundleError, ConfigError, DataError
from affetto.labels import EMOTIONS
from affetto.predictor import Predictor, ZeroShot
from affetto.predictor.space import unit
from affetto.predictor.zero_shot import through_emotions
from sounds import voice_like

RATE = 16000
WHITE = np.full((40, 40, 3), 255, np.uint8)
SPACE = {
    "width": 8,
    "modalities": ["speech", "text", "vision"],
    "scale": 5.0,
    "templates": ["{}", "hm {}"],
}


def hum(seconds: float, offset: float) -> np.ndarray:
    voice = voice_like(seconds)
    return (voice - voice.mean() + offset).astype(np.float32)


def towards(**emotions: float) -> np.ndarray:
    return unit(np.array([emotions.get(name, 0.0) for name in (*EMOTIONS, "foreign")]))


@pytest.fixture
def towers(variant: Callable[..., Bundle]) -> Predictor:
    return Predictor(variant(embedding=SPACE))


def test_each_modality_has_its_place(towers: Predictor) -> None:
    assert towers.embed(text="happy gloomy") == pytest.approx(towards(happiness=1, sadness=1), abs=1e-6)
    assert towers.embed(vision=WHITE) == pytest.approx(towards(surprise=1), abs=1e-6)
    assert towers.embed(speech=hum(1.0, 0.1)) == pytest.approx(towards(anger=1, happiness=-1), abs=1e-4)
    assert towers.embed(text="happy").dtype == np.float32
    assert towers.space == EmbeddingInfo.model_validate(SPACE)


def test_a_path_is_as_good_as_samples(towers: Predictor, wav: Callable[..., Path]) -> None:
    samples = np.concatenate([hum(1.0, 0.1), hum(1.0, -0.1)])
    second = towers.embed(speech=wav(samples), start=1.0, end=2.0)
    assert second == pytest.approx(towards(anger=-1, happiness=1), abs=1e-4)


def test_a_long_recording_is_the_mean_of_its_windows(towers: Predictor) -> None:
    """Windows of 2 s, weighted by length; all lie on one line, so only the sign is left."""
    up, down = hum(2.0, 0.1), hum(2.0, -0.1)
    angry = towards(anger=1, happiness=-1)
    assert towers.embed(speech=np.concatenate([down, up, up])) == pytest.approx(angry, abs=1e-4)
    assert towers.embed(speech=np.concatenate([up, down[:RATE]])) == pytest.approx(angry, abs=1e-4)
    # A remainder too short for the model joins the window before it.
    assert towers.embed(speech=np.concatenate([up, down[: RATE // 10]])) == pytest.approx(angry, abs=1e-4)


def test_what_is_no_speech_is_cut_off_where_the_part_says_so(variant: Callable[..., Bundle]) -> None:
    heard = []
    samples = np.concatenate([np.zeros(RATE, np.float32), hum(0.8, 0.0), np.zeros(RATE, np.float32)])
    parts = {
        "speech": {"width": 8, "margin_seconds": 0.1},
        "text": {"width": 8, "max_tokens": 16, "languages": ["en"]},
        "vision": {"width": 8, "size": 32},
    }
    towers = Predictor(variant(embedding=SPACE, parts=parts))
    real = towers._parts.speech
    towers._parts.speech = lambda cut, *more: (heard.append(len(cut)), real(cut, *more))[1]  # type: ignore
    towers.embed(speech=samples)
    assert 0.8 * RATE <= heard[0] < 1.3 * RATE


def test_one_medium_at_a_time(towers: Predictor) -> None:
    for media in ({}, {"text": "happy", "vision": WHITE}):
        with pytest.raises(DataError) as caught:
            towers.embed(**media)
        assert caught.value.code == "nothing_to_predict"
    with pytest.raises(AffettoError) as short:
        towers.embed(speech=hum(0.1, 0.1))
    assert short.value.code == "audio_too_short"


def test_a_bundle_without_towers_says_what_to_do(plain_bundle: Bundle) -> None:
    plain = Predictor(plain_bundle)
    for ask in (lambda: plain.embed(text="happy"), lambda: plain.space):
        with pytest.raises(BundleError, match="affetto train digits") as caught:
            ask()
        assert caught.value.code == "no_shared_space"


def test_a_contract_that_cannot_hold_is_refused(variant: Callable[..., Bundle]) -> None:
    for change in ({"templates": ["a digit"]}, {"modalities": ["touch"]}, {"scale": 0.0}):
        with pytest.raises(ValueError, match=r"embedding|place of a class|modality"):
            variant(embedding={**SPACE, **change})


# --- names that were never trained ---


def test_a_name_is_as_likely_as_it_is_near(towers: Predictor) -> None:
    asked = ZeroShot(towers, ("furious", "happy", "gloomy"))
    said = asked.answer(towers.predict(text="happy gloomy"), text="happy gloomy")
    # "hm" points a little to neutral: the mean of both templates lies between.
    near = unit(towards(happiness=1) + towards(happiness=4, neutral=0.1))
    cosine = float(near @ towards(happiness=1, sadness=1))
    powers = np.exp([0.0, 5.0 * cosine, 5.0 * cosine])
    assert list(said["probabilities"].values()) == pytest.approx((powers / powers.sum()).tolist(), abs=1e-4)


def test_several_media_are_taken_together(towers: Predictor) -> None:
    asked = ZeroShot(towers, ("happy", "gloomy"))
    media = {"text": "gloomy", "vision": WHITE, "speech": hum(1.0, -0.1)}
    place = unit(sum(towers.embed(**{name: source}) for name, source in media.items()))
    odds = np.exp(5.0 * (towers.embed(text="hm happy") - towers.embed(text="hm gloomy")) @ place)
    said = asked.answer(towers.predict(**media), **media)["probabilities"]
    assert said["happy"] / said["gloomy"] == pytest.approx(odds, rel=1e-2)


def test_through_emotions_by_hand() -> None:
    # Two emotions; the first name is all of one, the second half of each: P(first | e1) = 1 / 1.5.
    names = np.array([[1.0, 0.0], [0.5, 0.5]])
    assert through_emotions(np.array([0.9, 0.1]), names) == pytest.approx([0.6, 0.4])


def test_without_towers_names_are_heard_as_emotions(plain_bundle: Bundle) -> None:
    plain = Predictor(plain_bundle)
    said = ZeroShot(plain, ("happy", "gloomy")).answer(plain.predict(text="gloomy"))
    assert said["label"] == "gloomy"
    assert sum(said["probabilities"].values()) == pytest.approx(1.0)


def test_names_that_cannot_be_asked(towers: Predictor, plain_bundle: Bundle) -> None:
    for names in (("happy",), ("happy", "happy")):
        with pytest.raises(ConfigError, match="at least two"):
            ZeroShot(towers, names)
    parts = plain_bundle.info.parts.model_copy(update={"text": None})
    deaf = replace(plain_bundle, info=plain_bundle.info.model_copy(update={"parts": parts}))
    with pytest.raises(BundleError) as caught:
        ZeroShot(Predictor(deaf), ("happy", "gloomy"))
    assert caught.value.code == "no_shared_space"


def test_the_command_answers_for_names(
    towers: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(WHITE).save(path)
    asked = ["predict", str(path), "--bundle", str(towers.bundle.path), "--zero-shot", "happy,gloomy"]
    with pytest.raises(SystemExit) as done:
        app.main([*asked, "--json"])
    assert not done.value.code
    assert json.loads(capsys.readouterr().out)["tasks"]["zero_shot"]["label"] in ("happy", "gloomy")
    with pytest.raises(SystemExit):
        app.main([*asked, "-o", str(tmp_path / "rows.csv")])
    with (tmp_path / "rows.csv").open() as rows:
        assert next(csv.DictReader(rows))["zero_shot"] in ("happy", "gloomy")
