"""The page in headless Chromium, driven over its debugging protocol as a hand and a keyboard would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from affetto.records import Prediction
from affetto.timeline import write_timeline
from browser import CHROMIUM, Tab, browsing

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    with browsing(tmp_path / "chromium") as tab:
        yield tab


def sound() -> Iterator[np.ndarray]:
    for _ in range(4):
        yield np.sin(np.arange(16_000) / 10).astype(np.float32) / 4


def test_the_page_moves(call: Callable[..., Prediction], tab: Tab, tmp_path: Path) -> None:
    write_timeline(call(), tmp_path / "call.html", audio=sound())
    tab.call("Page.navigate", url=(tmp_path / "call.html").as_uri())
    tab.until("document.readyState === 'complete' && !!document.querySelector('#now')")
    said = "document.getElementById('chart').getAttribute('aria-valuetext')"
    assert tab.ask(said) == "0:00, anger 70%"
    tab.until("document.getElementById('audio').readyState > 0")
    assert tab.ask("document.getElementById('audio').duration") == pytest.approx(4.0, abs=0.01)

    # A click in the middle of the picture is the middle of the recording.
    tab.ask("document.getElementById('chart').scrollIntoView()")
    left, top, width = tab.ask(
        "(() => { const b = document.getElementById('chart').getBoundingClientRect();"
        " return [b.left + box.left, b.top, b.width - box.left]; })()"
    )
    tab.mouse("mouseMoved", "mousePressed", "mouseReleased", x=left + width * 0.6, y=top + 40)
    assert float(tab.ask("at")) == pytest.approx(2.4, abs=0.02)
    assert tab.ask(said).startswith("0:02.4, happiness 70%")
    assert tab.ask("document.getElementById('audio').currentTime") == pytest.approx(2.4, abs=0.02)
    assert "happiness" in tab.ask("document.querySelector('[aria-current]').textContent")

    # Hovering says what each view said; the keyboard goes from emotion to emotion.
    tab.mouse("mouseMoved", x=left + width * 0.1, y=top + 40)
    details = tab.ask("document.getElementById('details').textContent")
    assert "anger70%" in details
    assert "speechanger70%counts 60%" in details
    assert "I said né" in details
    tab.ask("document.getElementById('chart').focus()")
    tab.press("]")
    assert tab.ask(said) == "0:03, unsure"
    tab.press("Home")
    tab.press("ArrowRight")
    assert float(tab.ask("at")) == 0.5
    tab.press(" ")
    tab.until("at > 0.8")
    assert tab.ask("document.getElementById('play').getAttribute('aria-label')") == "Pause"
    tab.press(" ")
    assert tab.ask("document.getElementById('audio').paused")
    tab.press("+")
    assert tab.ask("view.to - view.from") == pytest.approx(2.5)
    tab.ask("document.getElementById('fit').click()")
    assert tab.ask("view.to - view.from") == 4

    tab.ask("document.querySelectorAll('#spans button')[2].click()")
    assert float(tab.ask("at")) == 2.0
    for columns in (320, 390, 800, 1000, 1600):
        tab.call(
            "Emulation.setDeviceMetricsOverride", width=columns, height=800, deviceScaleFactor=1, mobile=False
        )
        assert tab.ask("document.documentElement.scrollWidth") <= columns
    assert tab.faults() == []
    asked = [e["params"]["request"]["url"] for e in tab.events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_a_linked_recording_plays_and_a_lost_one_is_told(
    call: Callable[..., Prediction], tab: Tab, tmp_path: Path
) -> None:
    import soundfile

    soundfile.write(tmp_path / "my call.wav", np.concatenate(list(sound())), 16_000)
    for link, there in (("my call.wav", True), ("gone.wav", False)):
        write_timeline(call(segments=()), tmp_path / "call.html", link=link)
        tab.call("Page.navigate", url="about:blank")
        tab.call("Page.navigate", url=(tmp_path / "call.html").as_uri())
        tab.until("document.readyState === 'complete' && !!document.querySelector('#now')")
        if there:
            tab.until("document.getElementById('audio').readyState > 0")
        else:
            tab.until("document.body.textContent.includes('could not be opened')")
        assert tab.ask("document.getElementById('play').hidden") is not there
        # Without steps, spans say what was felt.
        assert tab.ask("document.getElementById('chart').getAttribute('aria-valuetext')") == "0:00, anger"
