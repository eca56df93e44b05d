"""A corpus in memory: tones, words and striped faces, one kind per emotion; no file is read."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from affetto.errors import MediaError
from affetto.features.text import train_tokenizer
from affetto.learn.config import (
    AugmentConfig,
    DataConfig,
    ExperimentConfig,
    FusionConfig,
    ModelConfig,
    SpeechConfig,
    StageConfig,
    TaskConfig,
    TextConfig,
    TrainConfig,
    VisionConfig,
)
from affetto.learn.training.media_cache import MediaCache
from affetto.records import Clip

EMOTIONS = ("anger", "happiness", "sadness")
WORDS = {
    "anger": "hate this terrible mess",
    "happiness": "what a lovely day",
    "sadness": "they cry all alone",
}


def decode_speech(path, start=None, end=None):
    """0.4 to 0.6 s of a tone: "anger/3" has anger's pitch, and its own length, noise and phase."""
    if path.startswith("broken"):
        raise MediaError("audio_corrupt", f"{path} is broken")
    rng = np.random.default_rng(zlib.crc32(path.encode()))
    time = np.arange(int(16000 * rng.uniform(0.4, 0.6))) / 16000
    pitch = 200 * 3 ** EMOTIONS.index(path.split("/")[0]) * rng.uniform(0.95, 1.05)
    wave = 0.3 * np.sin(2 * np.pi * pitch * time + rng.uniform(0, 6)) + 0.01 * rng.standard_normal(len(time))
    return wave.astype(np.float32)


def decode_face(path):
    rng = np.random.default_rng(zlib.crc32(path.encode()))
    face = np.full((32, 32), 90.0) + 10 * rng.standard_normal((32, 32))
    row = 11 * EMOTIONS.index(path.split("/")[0])
    face[row : row + 10] += 90
    return np.repeat(face.astype(np.uint8)[..., None], 3, axis=2)


def make_clips(per_split=(10, 4)):
    """Speech, text and face clips of their own, by emotion; speakers differ between the splits."""
    clips = []
    for split, count in zip(("train", "validation"), per_split, strict=True):
        for emotion in EMOTIONS:
            for i in range(count):
                name = f"{emotion}/{split}{i}"
                words = np.random.default_rng(zlib.crc32(name.encode())).permutation(WORDS[emotion].split())
                common = {"labels": {"emotion": emotion}, "split": split, "speaker": f"{split}{i % 2}"}
                clips += [
                    Clip(f"s-{name}", speech=name, text="the same", scripted=True, corpus="tones", **common),
                    Clip(f"t-{name}", text=f"{' '.join(words)} {i}", corpus="words", **common),
                    Clip(f"v-{name}", vision=name, corpus="faces", **common),
                ]
    return clips


@pytest.fixture(scope="session")
def all_clips():
    return tuple(make_clips())


@pytest.fixture
def clips(all_clips):
    return list(all_clips)


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer([clip.text for clip in make_clips() if clip.text], 300)


@pytest.fixture(scope="session")
def model():
    return ModelConfig(
        dim=8,
        speech=SpeechConfig(n_mels=16, channels=(8, 8), width=8, layers=1),
        text=TextConfig(name="words", vocab_size=300, max_tokens=8, width=8),
        vision=VisionConfig(size=32, channels=(4,), blocks=1),
        fusion=FusionConfig(tokens=1, layers=1, heads=2),
        tasks=(TaskConfig("emotion", labels=EMOTIONS),),
    )


@pytest.fixture(scope="session")
def cache(model, tokenizer):
    return MediaCache(model, tokenizer, decode_speech=decode_speech, decode_face=decode_face)


@pytest.fixture(scope="session")
def make_config(model):
    def make(*stages: StageConfig, **changes) -> ExperimentConfig:
        return ExperimentConfig(
            name="test",
            seed=changes.pop("seed", 3),
            # So few words make some sentences twice.
            data=DataConfig(augment=AugmentConfig(crop_seconds=(0.3, 0.5)), allow_leaks=("sentence_leak",)),
            model=changes.pop("model", model),
            train=TrainConfig(stages=stages, devices=0, **changes),
        )

    return make
