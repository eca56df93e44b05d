"""An audit as one page that needs no network."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from affetto.data.audit.findings import SEVERITIES, Finding, Severity
from affetto.html import card, page, table

if TYPE_CHECKING:
    from affetto.data.audit import Audit

_HEADINGS: dict[Severity, str] = {
    "leak": "Leaks: a test would measure memory; training is refused",
    "problem": "Problems: they spoil a model, or a figure",
    "note": "Notes",
}
_SHOWN = 200  # ids of a finding
_STYLE = """
.finding { border-left: 4px solid var(--line); padding-left: 14px; margin-top: 14px; }
.leak { border-color: #c0392b; } .problem { border-color: #c98500; }
.finding p, .finding details { overflow-wrap: anywhere; }
.finding details { font-size: 13px; color: var(--quiet); }
code { font-size: 12px; color: var(--quiet); }
"""


def to_html(found: Audit, title: str) -> str:
    """The page of an audit: what was looked at, then the findings, the gravest first, with their clips."""
    parts = [card("What was looked at", _looked_at(found))]
    for severity in SEVERITIES:
        own = [finding for finding in found.findings if finding.severity == severity]
        if own:
            parts.append(card(_HEADINGS[severity], "".join(map(_finding, own))))
    if not found.findings:
        parts.append(card("Nothing was found", "<p>No leak, no copy, no artefact.</p>"))
    return page(title, "".join(parts), kind="audit", more_style=_STYLE)


def _looked_at(found: Audit) -> str:
    counts = found.counts
    splits = ", ".join(f"{name} {count}" for name, count in sorted(counts["splits"].items()))
    rows = [
        ("clips", str(counts["clips"])),
        ("media opened", f"{counts['media']} ({counts['hours']:.2f} h of sound)"),
        ("corpora", str(counts["corpora"])),
        ("speakers", str(counts["speakers"])),
        ("splits", splits),
    ]
    return table(("", ""), rows)


def _finding(finding: Finding) -> str:
    remedy = f"<p><b>Remedy:</b> {escape(finding.remedy)}.</p>" if finding.remedy else ""
    shown = finding.clips[:_SHOWN]
    more = f" and {len(finding.clips) - _SHOWN} more (all in the JSON)" if len(finding.clips) > _SHOWN else ""
    listed = (
        f"<details><summary>{len(finding.clips)} clips</summary>{escape(', '.join(shown))}{more}</details>"
        if shown
        else ""
    )
    return (
        f'<div class="finding {finding.severity}"><p>{escape(finding.message)}. <code>{finding.code}</code></p>'
        f"{remedy}{listed}</div>"
    )
