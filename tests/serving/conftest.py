"""A server for many tests, and one in this process for those that look inside."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from affetto.bundle import Bundle
from affetto.media import DecodingWorker
from affetto.predictor import Predictor
from affetto.serving import create_app
from affetto.serving.answering import Decoding
from affetto.serving.limits import Limits
from serving.running import Running, serving, wait_for
from sounds import voice_like


@pytest.fixture(scope="session")
def decoder() -> Iterator[DecodingWorker]:
    with DecodingWorker(timeout=10) as worker:
        yield worker


@pytest.fixture
def client(plain_bundle: Bundle, decoder: DecodingWorker) -> Iterator[Callable[..., TestClient]]:
    """Makes clients of applications in this process: client(limits=..., keys=...)."""
    opened: list[TestClient] = []

    def make(bundle: Bundle = plain_bundle, limits: Limits = Limits(), **options: Any) -> TestClient:
        predictor = Predictor(bundle, decoder=Decoding(decoder, limits))
        app = create_app(predictor, limits=limits, **options)
        opened.append(TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False))
        opened[-1].__enter__()
        wait_for(lambda: opened[-1].get("/health/ready").status_code == 200, 5, "a worker")
        return opened[-1]

    yield make
    for one in opened:
        one.__exit__(None, None, None)


@pytest.fixture(scope="session")
def plain(plain_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of the plain bundle with limits that are quick to reach."""
    with serving("--bundle", str(plain_bundle.path), "--max-seconds", "20", "--max-body", "4") as server:
        yield server


@pytest.fixture(scope="session")
def clip() -> bytes:
    """A second and a half of a voice as a WAV file."""
    return wav_bytes(voice_like(1.5))


def wav_bytes(samples: np.ndarray, rate: int = 16_000, **options: Any) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"format": "WAV", "subtype": "PCM_16", **options})
    return file.getvalue()
