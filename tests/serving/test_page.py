"""The page as it is served: whole in itself, strict, and speaking with one voice with the timeline's page."""

from __future__ import annotations

import json
import re

from affetto.labels import EMOTIONS
from affetto.serving.assets import POLICY, read_files
from affetto.timeline.wording import REASONS, WARNINGS

FILES = {name: file.data.decode() for name, file in read_files().items()}
PAGE = FILES["index.html"]


def test_the_page_asks_for_its_own_files_alone() -> None:
    asked = re.findall(r'(?:src|href)="([^"]*)"', PAGE)
    assert {name for name in asked if name.startswith("static/")} == {"static/page.css", "static/page.js"}
    assert [name for name in asked if not name.startswith("static/")] == ["data:,"]
    assert 'addModule("static/worklet.js")' in FILES["page.js"]
    for name, text in FILES.items():
        assert not re.search(r"https?://|//[a-z]+\.[a-z]", text.replace("http://www.w3.org", "")), name
        assert "{{" not in text, name


def test_the_policy_allows_nothing_inline_and_nobody_else() -> None:
    rules = dict(rule.strip().split(" ", 1) for rule in POLICY.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in POLICY
    assert not re.search(r"\son[a-z]+=|\sstyle=|<style", PAGE)
    assert re.findall(r"<script(?! type=\"application/json\")[^>]*>", PAGE) == [
        '<script src="static/page.js" defer>'
    ]


def test_nothing_is_stored_and_no_text_is_parsed_as_html() -> None:
    stores = r"localStorage|sessionStorage|indexedDB|\.cookie|caches\.|serviceWorker"
    parses = r"innerHTML|outerHTML|insertAdjacent|eval\("
    assert re.findall(f"{stores}|{parses}", FILES["page.js"]) == []


def test_names_reasons_and_colours_are_those_of_the_timeline() -> None:
    wording = json.loads(re.search(r'id="wording">(.*?)</script>', PAGE)[1])
    assert wording["reasons"] == dict(REASONS)
    assert wording["warnings"] == dict(WARNINGS)
    assert set(EMOTIONS) <= set(wording["colours"])
    for name in wording["colours"]:
        assert FILES["page.css"].count(f"--{name}:#") == 2, f"{name} in light and in dark"


def test_the_people_concerned_are_told() -> None:
    notice = re.search(r'<section class="notice".*?</section>', PAGE, re.DOTALL)[0]
    for owed in ("often wrong", "nothing is kept", "5(1)(f)", "50(3)", "at work or in education"):
        assert owed in notice
