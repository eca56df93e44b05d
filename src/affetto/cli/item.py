"""What one line of a command asks about."""

from __future__ import annotations

from dataclasses import dataclass

from affetto.records import Clip


@dataclass(frozen=True)
class Item:
    """One thing to answer: a clip, or bytes that came through stdin."""

    clip: Clip
    data: bytes | None = None

    @property
    def name(self) -> str:
        return self.clip.speech or self.clip.vision or self.clip.id

    def modalities(self) -> tuple[str, ...]:
        stdin = () if self.data is None else ("vision" if is_picture(self.data[:16]) else "speech",)
        return (*self.clip.modalities(), *stdin)


def is_picture(head: bytes) -> bool:
    """Whether a file that begins with these 16 bytes is a JPEG, PNG or WebP."""
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG")) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
