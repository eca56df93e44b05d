"""The audit before training: what would have ruined the result, found while there is time.

*Leaks* (what stands in more than one split), *copies* (recordings and pictures that are one), *artefacts* (what
tells the label and is no feeling), *faults* (media that cannot be read or say little).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from affetto.data.audit.artefacts import find_artefacts, find_skew
from affetto.data.audit.examine import Decoder, Examined, examine
from affetto.data.audit.findings import SEVERITIES, Finding
from affetto.data.audit.leaks import check_leaks, duplicate_clips, find_leaks
from affetto.data.audit.quality import find_copies, find_faults
from affetto.records import Clip

__all__ = ["Audit", "Finding", "audit", "check_leaks", "duplicate_clips", "find_leaks"]


@dataclass(frozen=True)
class Audit:
    """What was looked at, and what was found, the gravest first. `counts`: of clips, media, speakers, classes."""

    findings: tuple[Finding, ...]
    counts: Mapping[str, Any]

    @property
    def leaks(self) -> tuple[Finding, ...]:
        """The findings for which training is refused."""
        return tuple(finding for finding in self.findings if finding.severity == "leak")

    def to_dict(self) -> dict[str, Any]:
        """As `affetto audit --json` prints it."""
        return {"counts": dict(self.counts), "findings": [finding.to_dict() for finding in self.findings]}


def audit(
    clips: Sequence[Clip],
    decoder: Decoder | None = None,
    *,
    progress: Callable[[Iterable[Examined]], Iterable[Examined]] = iter,
) -> Audit:
    """Look at clips before anything is trained on them; with a `decoder` their media are opened and compared.

    Nothing is raised for what is found: a medium that cannot be read is a finding. `progress` wraps the stream
    of what has been examined.
    """
    examined = list(progress(examine(clips, decoder))) if decoder is not None else []
    findings = [
        *find_leaks(clips),
        *_repeated(clips),
        *find_copies(examined),
        *find_artefacts(examined),
        *find_skew(clips),
        *find_faults(examined),
    ]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Audit(tuple(findings), _counts(clips, examined))


def _repeated(clips: Iterable[Clip]) -> list[Finding]:
    twice = duplicate_clips(clips)
    if not twice:
        return []
    ids = tuple(f"{corpus}/{name}" if corpus else name for corpus, name in twice)
    return [Finding("repeated_id", "problem", f"{len(ids)} ids stand for several clips", "rename them", ids)]


def _counts(clips: Sequence[Clip], examined: Sequence[Examined]) -> dict[str, Any]:
    return {
        "clips": len(clips),
        "media": len(examined),
        "hours": sum(one.facts.get("seconds", 0.0) for one in examined) / 3600,
        "corpora": len({clip.corpus for clip in clips if clip.corpus}),
        "speakers": len({(clip.corpus, clip.speaker) for clip in clips if clip.speaker}),
        "splits": dict(Counter(clip.split or "none" for clip in clips)),
    }
