"""The web page at `/`: what a browser is given, put together once from files that need no network and no build.

The look, the picture of a timeline and its keys are those of the page that `--timeline` writes
(`affetto.timeline`), and so are names, reasons and colours: both pages say a thing alike.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib.resources import files

from affetto.html import style
from affetto.timeline.page import COLOURS, OTHERS
from affetto.timeline.wording import NOBODY, REASONS, UNSURE, VIEWS, WARNINGS

#: The Content-Security-Policy of the page: its own files and its own server, nothing inline, nothing else.
#: `blob:` is the recording that is played and the picture that is shown, which never leave the browser by it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data: blob:; "
    "media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class File:
    """A file for the browser: its content type and its bytes."""

    type: str
    data: bytes


def read_files() -> dict[str, File]:
    """The page, `index.html`, and the files that it asks for below `static/`, by name."""
    wording = {
        "nobody": NOBODY,
        "unsure": UNSURE,
        "views": dict(VIEWS),
        "reasons": dict(REASONS),
        "warnings": dict(WARNINGS),
        "colours": list(COLOURS),
        "others": len(OTHERS),
    }
    parts = {
        "timeline": _timeline("timeline.html"),
        "wording": json.dumps(wording, ensure_ascii=False).replace("<", "\\u003c"),
    }
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _static("index.html"))
    script = [_timeline("picture.js"), _timeline("page.js")]
    script += [_static(name) for name in ("answer.js", "microphone.js", "page.js", "search.js")]
    return {
        "index.html": _text("html", page),
        "page.css": _text("css", style(), _timeline("page.css"), _palette(), _static("page.css")),
        "page.js": _text("javascript", *script),
        "worklet.js": _text("javascript", _static("worklet.js")),
    }


def _text(kind: str, *texts: str) -> File:
    return File(f"text/{kind}; charset=utf-8", "\n".join(texts).encode())


def _static(name: str) -> str:
    return (files("affetto.serving") / "static" / name).read_text(encoding="utf-8")


def _timeline(name: str) -> str:
    return (files("affetto.timeline") / name).read_text(encoding="utf-8")


def _palette() -> str:
    """The colours as CSS variables by the emotion's name, and `--other0` and so on for emotions without one."""
    pairs = {**COLOURS, **{f"other{i}": pair for i, pair in enumerate(OTHERS)}}
    light, dark = ("".join(f"--{name}:{pair[theme]};" for name, pair in pairs.items()) for theme in (0, 1))
    return f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"
