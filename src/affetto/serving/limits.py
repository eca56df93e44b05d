"""What the server accepts, and for how long. Each limit is kept while reading, never after."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, bytes and counts beyond which a request is refused."""

    # one request
    body_bytes: int = 32 * 2**20
    header_bytes: int = 16 * 2**10
    parts: int = 16
    words_bytes: int = 2**20
    text_characters: int = 20_000
    items: int = 64
    seconds: float = 300.0
    pixels: int = 25_000_000
    # time
    header_seconds: float = 10.0
    idle_seconds: float = 10.0
    bytes_per_second: int = 4096
    write_seconds: float = 30.0
    answer_seconds: float = 30.0
    decode_seconds: float = 10.0
    drain_seconds: float = 8.0
    # all requests together
    queue: int = 64
    queue_seconds: float = 0.4
    connections: int = 512
    buffered_bytes: int = 256 * 2**20
    # streams
    streams: int = 50
    stream_seconds: float = 3600.0
    message_bytes: int = 2**20
    stream_idle_seconds: float = 30.0
    ping_seconds: float = 20.0
    start_seconds: float = 10.0
