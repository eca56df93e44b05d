"""What the server asks a worker, and what the worker answers: small facts as JSON, the rest as bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """`name` is that of a method of `Answering`; `facts` fit into a message's header."""

    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    blobs: tuple[bytes | bytearray, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: `data` is JSON as it goes to the client. `facts` hold `error` for an error, and `seconds` by
    stage where these are known."""

    facts: dict[str, Any]
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Item:
    """What is to be answered: any subset of media, as bytes.

    `words` is a file of words with times in any format that `affetto.align` reads; `waveform` is float32 at
    16 kHz, instead of `audio`.
    """

    audio: bytes | bytearray | None = None
    image: bytes | bytearray | None = None
    text: str | None = None
    words: bytes | None = None
    waveform: bytes | None = None
    timeline: bool = False
    labels: tuple[str, ...] | None = None
    language: str | None = None
    file: str | None = None

    def call(self) -> Call:
        """The call that answers it."""
        media = {
            "audio": self.audio,
            "image": self.image,
            "text": None if self.text is None else self.text.encode(),
            "words": self.words,
            "waveform": self.waveform,
        }
        given = {name: blob for name, blob in media.items() if blob is not None}
        facts = {
            "given": list(given),
            "timeline": self.timeline,
            "labels": self.labels,
            "language": self.language,
            "file": self.file,
        }
        return Call("predict", facts, tuple(given.values()))
