"""What the server is used for, which must be said when it starts, and the notice owed to the people concerned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from affetto.errors import ServingError

#: Uses that need no more than being named.
ALLOWED = ("personal", "demo", "research", "art", "accessibility", "health", "safety", "customer-care")
#: Prohibited in the Union but for medical or safety reasons: Regulation (EU) 2024/1689, Art. 5(1)(f).
PROHIBITED = ("workplace", "education", "recruitment")
EXCEPTIONS = ("medical", "safety")
#: Uses that the authors refuse to support, whatever the reason.
REFUSED = ("policing", "border-control", "lie-detection")
_SHORTEST_REASON = 20

#: Facts with their places in the law; not legal advice. docs/responsible-use.md says when they were checked.
LAW = (
    {
        "article": "5(1)(f)",
        "says": "Inferring the emotions of people at the workplace and in education is prohibited, except for "
        "medical or safety reasons.",
        "since": "2025-02-02",
    },
    {
        "article": "50(3)",
        "says": "Whoever deploys an emotion recognition system informs the people exposed to it.",
        "since": "2026-08-02",
    },
    {
        "article": "Annex III, 1(c)",
        "says": "Emotion recognition systems are high-risk.",
        "since": "2027-12-02",
    },
)


@dataclass(frozen=True, slots=True)
class Purpose:
    """A declared purpose; `exception` and `reason` where it would else be prohibited. `operator` and
    `contact` are who runs the server and how to reach them."""

    name: str
    exception: str | None = None
    reason: str | None = None
    operator: str | None = None
    contact: str | None = None

    @property
    def complete(self) -> bool:
        """Whether the notice says who answers for the server."""
        return bool(self.operator and self.contact)

    def header(self) -> str:
        """The purpose as the value of a response header."""
        if self.exception is None:
            return self.name
        reason = (self.reason or "").encode("ascii", "replace").decode().replace('"', "'")
        return f'{self.name}; exception={self.exception}; reason="{reason}"'

    def notice(self) -> dict[str, Any]:
        """What the people concerned are to be told (Art. 50(3)), and the facts behind it."""
        operator = self.operator or "[operator: start the server with --operator]"
        contact = self.contact or "[contact: start the server with --contact]"
        return {
            "text": (
                "This service analyses your voice, the text you write and your picture by computer to estimate "
                f"the emotion they express. It is run by {operator}, for the purpose: {self.name}. The estimate "
                "can be wrong, and an expression is not a feeling. What you send is held in memory while it is "
                f"answered and is not kept. Questions: {contact}."
            ),
            "purpose": self.name,
            "exception": self.exception,
            "reason": self.reason,
            "operator": self.operator,
            "contact": self.contact,
            "complete": self.complete,
            "law": list(LAW),
        }


def declare(
    name: str | None,
    *,
    exception: str | None = None,
    reason: str | None = None,
    operator: str | None = None,
    contact: str | None = None,
) -> Purpose:
    """The purpose that a command line names. Raises ServingError `purpose_undeclared`, `purpose_refused`."""
    if name is None:
        raise ServingError(
            "purpose_undeclared", f"say what the server is for: --purpose with one of {', '.join(ALLOWED)}"
        )
    if name in REFUSED:
        raise ServingError(
            "purpose_refused",
            f"purpose {name}: the authors refuse to support it, see docs/responsible-use.md",
        )
    if name in PROHIBITED:
        _check_exception(name, exception, reason)
    elif name not in ALLOWED:
        raise ServingError(
            "purpose_undeclared", f"purpose {name!r}: expected one of {', '.join((*ALLOWED, *PROHIBITED))}"
        )
    elif exception is not None or reason is not None:
        raise ServingError("purpose_undeclared", f"purpose {name} needs no exception: leave it out")
    kept = [None if value is None else " ".join(value.split()) for value in (reason, operator, contact)]
    return Purpose(name, exception, *kept)


def _check_exception(name: str, exception: str | None, reason: str | None) -> None:
    if exception not in EXCEPTIONS:
        raise ServingError(
            "purpose_refused",
            f"purpose {name}: inferring emotions there is prohibited in the European Union (AI Act Art. 5(1)(f)) "
            "but for medical or safety reasons; if yours is one, say so with --exception medical or safety, "
            "and --reason",
        )
    if len((reason or "").strip()) < _SHORTEST_REASON:
        raise ServingError(
            "purpose_refused",
            f"purpose {name} with exception {exception}: --reason must state it in at least "
            f"{_SHORTEST_REASON} characters; it goes into the log and into every answer",
        )
