"""The page: whole in itself, well formed, deaf to what a transcript says, and moving in a browser."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from affetto.errors import ConfigError
from affetto.labels import EMOTIONS
from affetto.records import Prediction, Segment, Span, Word
from affetto.timeline import page, sound
from affetto.timeline.page import COLOURS, to_html

VOID = {"meta", "link", "br", "img", "input", "hr"}
EVIL = "</script><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>{{data}}&amp;"


class Reader(HTMLParser):
    """Elements with their attributes, the text of each id, and whether every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self._ids: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        assert len(found) == len(attrs), f"an attribute twice in {tag}"
        self.elements.append((tag, found))
        if tag not in VOID and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)
            self._ids.append(found.get("id") or tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop() == tag
        self._ids.pop()

    def handle_data(self, data: str) -> None:
        for name in set(self._ids):
            self.text[name] = self.text.get(name, "") + data

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def blocks(seconds: float = 4.0) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for _ in range(int(seconds)):
        yield rng.normal(scale=0.05, size=16_000).astype(np.float32)


def data_of(text: str) -> dict[str, Any]:
    return json.loads(Reader(text).text["data"])


def test_the_page_holds_what_was_predicted(call: Callable[..., Prediction]) -> None:
    prediction = call()
    text = to_html(prediction, audio=blocks())
    reader, data = Reader(text), data_of(text)
    for said in ("Anger", "50%", "call.wav", "without face", "speech", "counts 60%", "unsure", "nobody speaks",
                 "not calibrated", "default · CC BY 4.0 · abcdef012345"):  # fmt: skip
        assert said in reader.text["body"], said
    assert "calls" not in text  # nor any other folder
    rows = re.findall(r"<li[^>]*><button.*?</li>", text)
    assert [re.sub(r"<[^>]+>", " ", row).split() for row in rows] == [
        ["0:00–0:01", "anger", "70%", "I", "said", "né,&quot;&lt;no&gt;"],
        ["0:01–0:02", "nobody", "speaks"],
        ["0:02–0:03", "happiness", "70%"],
        ["0:03–0:04", "unsure", "who", "knows?"],
    ]
    assert "<em>who</em> <em>knows?</em>" in rows[3]
    assert data["labels"] == list(EMOTIONS)
    assert data["views"] == ["speech", "text"]
    assert data["words"] == [[w.text, w.start, w.end, int(w.estimated)] for w in prediction.words]
    assert data["phrases"] == [3, 2]
    assert data["spans"] == [[0, 1, 0, 0.7], [1, 2, -1, 0], [2, 3, 3, 0.7], [3, 4, -2, 0.2]]
    assert data["steps"][0] == [0, 0.5, 0, 1.0, [700, *[50] * 6], [[0, 700, 0.6], [5, 400, None]]]
    assert data["steps"][2] == [1.0, 1.5, -1, 0.0, 0, [0, 0]]
    assert data["steps"][6][2] == -2


def test_the_page_needs_nothing_else(call: Callable[..., Prediction]) -> None:
    text = to_html(call(), audio=blocks())
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    for tag, attributes in Reader(text).elements:
        assert tag not in ("iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "data", "srcset"):
            assert (attributes.get(name) or "data:").startswith("data:")
    policy = next(a["content"] for a in Reader(text).all("meta") if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert len(script) == 1
    assert f"script-src 'sha256-{digest}'" in policy


def test_a_transcript_is_only_text(call: Callable[..., Prediction]) -> None:
    words = (Word(EVIL.replace(" ", ""), 0.1, 0.5),)
    span = Span(0.0, 4.0, "anger", 0.5, (EVIL,))
    text = to_html(call(words=words, spans=(span,), file=EVIL, warnings=(EVIL,), model={"name": EVIL}))
    harmless = to_html(call(words=(), spans=(span,)))
    assert [tag for tag, _ in Reader(text).elements if tag in ("script", "img")] == ["script", "script"]
    assert len(Reader(harmless).all("script")) == 2
    assert data_of(text)["words"][0][0] == words[0].text
    no_words = Reader(to_html(call(words=(), spans=(span,)))).text["spans"]
    assert EVIL in no_words  # as text


def test_labels_of_any_model(call: Callable[..., Prediction]) -> None:
    odd = {'bored "<b>"': 0.6, "calm": 0.4}
    name = next(iter(odd))
    text = to_html(call(emotion=name, probabilities=odd, modalities={}, segments=(Segment(0, 4, name, odd),),
                        spans=(Span(0, 4, name, 0.6),)))  # fmt: skip
    assert data_of(text)["labels"] == list(odd)
    assert all(f"--e{i}:#" in text for i in range(2))
    Reader(text)


def test_the_recording_is_in_the_page(call: Callable[..., Prediction]) -> None:
    text = to_html(call(), audio=blocks())
    (player,) = Reader(text).all("audio")
    source = player["src"]
    assert source is not None
    assert base64.b64decode(source.removeprefix("data:audio/flac;base64,")).startswith(b"fLaC")
    peaks = data_of(text)["peaks"]
    assert peaks["seconds"] == 0.01
    values = np.frombuffer(base64.b64decode(peaks["bytes"]), np.uint8)
    expected = np.abs(np.concatenate(list(blocks()))).reshape(-1, 160).max(axis=1)
    assert np.array_equal(values, np.round(255 * expected / expected.max()).astype(np.uint8))


def test_a_long_recording_is_linked_or_missed(
    call: Callable[..., Prediction], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "listen", lambda given: (sound.listen(given)[0], None))
    assert Reader(to_html(call(), audio=blocks(), link="../a b/call#1.wav")).all("audio")[0]["src"] == (
        "./../a%20b/call%231.wav"
    )
    silent = to_html(call(), audio=blocks())
    assert "more than 16 MB" in silent
    assert Reader(silent).all("audio") == []
    assert data_of(silent)["peaks"]


@pytest.mark.parametrize(
    "link", ["https://example.org/a.wav", "/a.wav", "javascript:alert(1)", "C:\\a.wav", "\\\\host\\a.wav"]
)
def test_a_link_is_relative(call: Callable[..., Prediction], link: str) -> None:
    with pytest.raises(ConfigError) as caught:
        to_html(call(), link=link)
    assert caught.value.code == "option_invalid"


def test_without_a_recording_or_a_timeline(call: Callable[..., Prediction]) -> None:
    silent = to_html(call())
    assert Reader(silent).all("audio") == []
    assert "more than" not in silent
    short = to_html(call(segments=(), spans=(), words=(), duration=None))
    assert "Anger" in Reader(short).text["body"]
    assert Reader(short).all("canvas") == []


@pytest.mark.parametrize(
    ("reason", "said"), [("no_speech", "Nobody speaks"), ("low_confidence", "no emotion stands out")]
)
def test_no_answer_says_why(call: Callable[..., Prediction], reason: str, said: str) -> None:
    assert said in Reader(to_html(call(emotion=None, abstained=True, reason=reason))).text["body"]


def test_equal_answers_make_equal_pages(call: Callable[..., Prediction]) -> None:
    assert to_html(call(), audio=blocks()) == to_html(call(), audio=blocks())


def test_an_hour_is_a_page_of_a_few_megabytes(call: Callable[..., Prediction]) -> None:
    steps = call().segments * 900
    text = to_html(call(segments=steps))
    assert len(data_of(text)["steps"]) == 7200
    assert len(text) < 1.5e6


# --- colours ---

# Machado, Oliveira & Fernandes 2009: how linear RGB looks without long, middle or short cones.
SIGHT = {
    "full": np.eye(3),
    "no red": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no green": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no blue": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear(colour: str) -> np.ndarray:
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def luminance(colour: str) -> float:
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


def oklab(rgb: np.ndarray) -> np.ndarray:
    """Ottosson 2020."""
    cones = np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]])
    axes = np.array([[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]])
    return axes @ np.cbrt(cones @ np.clip(rgb, 0, 1))


@pytest.mark.parametrize(("theme", "ground"), [(0, "#ffffff"), (1, "#161a20")])
def test_colours_can_be_told_apart_by_everyone(theme: int, ground: str) -> None:
    behind = luminance(ground) + 0.05
    for name in EMOTIONS:
        own = luminance(COLOURS[name][theme]) + 0.05
        assert max(own, behind) / min(own, behind) >= 3, name
    for sight, matrix in SIGHT.items():
        seen = {name: oklab(np.array(matrix) @ linear(COLOURS[name][theme])) for name in EMOTIONS}
        for one, other in itertools.combinations(EMOTIONS, 2):
            assert np.linalg.norm(seen[one] - seen[other]) > 0.065, (sight, one, other)
