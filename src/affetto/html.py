"""Pages that need no network: one style for all, and the few pieces that every page is made of."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:{script_source}">
<title>{title} – affetto</title>
<style>{style}</style>
<header><p class="brand">affetto<span class="quiet">{kind}</span></p><h1>{title}</h1></header>
<main>{body}</main>
<footer>{footer}</footer>
{script}</html>
"""


def style() -> str:
    """The rules that every page shares: colours in light and dark, type, cards, tables."""
    return (files("affetto") / "style.css").read_text(encoding="utf-8")


def page(
    title: str, body: str, *, kind: str, footer: str = "", more_style: str = "", script: str = ""
) -> str:
    """A whole page. `title`, `kind` and `footer` are plain text, `body` is HTML. Only `script` may run on it."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _PAGE.format(
        title=escape(title),
        kind=escape(kind),
        body=body,
        footer=escape(footer),
        style=style() + more_style,
        script=f"<script>{script}</script>\n" if script else "",
        script_source=f"; script-src 'sha256-{digest}'" if script else "",
    )


def card(heading: str, content: str) -> str:
    """A section with a heading (plain text)."""
    return f'<section class="card"><h2>{escape(heading)}</h2>{content}</section>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain text; the first cell of a row is its heading. Wide ones scroll by themselves."""
    titles = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = "".join(
        f'<tr><th scope="row">{escape(first)}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        for first, *rest in rows
    )
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table></div>'
