"""What an audit says: findings, each with a stable code, how grave it is, and the clips that it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from affetto.records import Clip

#: leak: a test would measure memory, training refuses; problem: spoils a model or a figure; note: to be known.
Severity = Literal["leak", "problem", "note"]
SEVERITIES: tuple[Severity, ...] = ("leak", "problem", "note")

_NAMED = 3


@dataclass(frozen=True)
class Finding:
    """One thing found. `clips` are ids (`corpus/id` where a corpus is known), `numbers` what was counted."""

    code: str
    severity: Severity
    message: str
    remedy: str
    clips: tuple[str, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As `affetto audit --json` prints it."""
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "remedy": self.remedy,
            "clips": list(self.clips),
            "numbers": dict(self.numbers),
        }


def full_id(clip: Clip) -> str:
    """The id of a clip among those of several corpora."""
    return f"{clip.corpus}/{clip.id}" if clip.corpus else clip.id


def named(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else shown
