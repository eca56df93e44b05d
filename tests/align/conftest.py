"""Speech whose word times are known: eSpeak NG says it and reports where each word starts."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

RATE = 16_000
_RETRIEVE, _DO_NOT_EXIT, _UTF8, _CHARACTERS, _WORD = 1, 0x8000, 1, 1, 1


@dataclass(frozen=True)
class Spoken:
    """Samples [N] at 16 kHz, and the start of each word in seconds."""

    waveform: np.ndarray
    starts: tuple[float, ...]


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@pytest.fixture(scope="session")
def say() -> Callable[..., Spoken]:
    """say(text, silence=0.3): English speech with silence (of a quiet room) around it."""
    loader = pytest.importorskip("espeakng_loader")
    soxr = pytest.importorskip("soxr")
    espeak = ctypes.CDLL(loader.get_library_path())
    rate = espeak.espeak_Initialize(_RETRIEVE, 0, loader.get_data_path().encode(), _DO_NOT_EXIT)
    espeak.espeak_SetVoiceByName(b"en-us")

    @cache
    def speak(text: str) -> tuple[np.ndarray, tuple[float, ...]]:
        blocks: list[np.ndarray] = []
        starts: list[float] = []

        def keep(samples: object, count: int, events: object) -> int:
            if samples and count:
                blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
            place = 0
            while events[place].type:
                if events[place].type == _WORD:
                    starts.append(events[place].audio_position / 1000)
                place += 1
            return 0

        callback = _CALLBACK(keep)
        espeak.espeak_SetSynthCallback(callback)
        data = text.encode()
        espeak.espeak_Synth(data, len(data) + 1, 0, _CHARACTERS, 0, _UTF8, None, None)
        espeak.espeak_Synchronize()
        waveform = np.concatenate(blocks).astype(np.float32) / 32768
        return soxr.resample(waveform, rate, RATE).astype(np.float32), tuple(starts)

    def say(text: str, silence: float = 0.3) -> Spoken:
        waveform, starts = speak(text)
        padded = np.pad(waveform, round(silence * RATE))
        hiss = np.random.default_rng(0).standard_normal(len(padded)) * 1e-4
        return Spoken((padded + hiss).astype(np.float32), tuple(start + silence for start in starts))

    return say
