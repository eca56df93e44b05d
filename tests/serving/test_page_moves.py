"""The page in headless Chromium with a fake microphone, against a server that keeps to the contract."""

from __future__ import annotations

import base64
import json
import wave
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from browser import CHROMIUM, Tab, browsing
from fake_server import KEY, PREDICTION, UNSURE, Fake, serving

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

FRAMED = "document.activeElement.closest('.pick')?.querySelector('span') ?? document.activeElement"
SMALL = """[...document.querySelectorAll("button, .pick span")]
  .filter((button) => button.checkVisibility({ contentVisibilityAuto: true }) && button.offsetHeight < 24)"""
CONTRAST = """(() => {
  const light = (rgb) => rgb.map((v) => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const behind = (node) => {
    const colour = parts(getComputedStyle(node).backgroundColor);
    return colour.length < 4 ? colour : behind(node.parentElement);
  };
  const poor = [];
  for (const node of document.body.querySelectorAll("*")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.checkVisibility() || node.closest("script, [aria-disabled], svg")) continue;
    const style = getComputedStyle(node), [a, b] = [light(parts(style.color).slice(0, 3)), light(behind(node))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    const large = parseFloat(style.fontSize) >= 24;
    if (ratio < (large ? 3 : 4.5)) poor.push(`${node.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return poor;
})()"""


def spoken(path: Path, rate: int = 16_000, seconds: float = 3.0) -> Path:
    """A recording: a tone that comes and goes."""
    times = np.arange(int(seconds * rate)) / rate
    samples = 0.5 * np.sin(2 * np.pi * 220 * times) * np.sin(np.pi * times) ** 2
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fake, Tab]]:
    folder = tmp_path_factory.mktemp("page")
    heard = spoken(folder / "heard.wav")
    flags = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
             f"--use-file-for-fake-audio-capture={heard}")  # fmt: skip
    with serving() as fake, browsing(folder / "chromium", *flags) as tab:
        tab.call("DOM.enable")
        tab.call("Accessibility.enable")
        yield fake, tab


@pytest.fixture
def server(started: tuple[Fake, Tab]) -> Fake:
    """The running server, as if nothing had been asked of it."""
    fake = started[0]
    for name, value in vars(Fake(url=fake.url)).items():
        setattr(fake, name, value)
    return fake


@pytest.fixture
def tab(started: tuple[Fake, Tab], server: Fake) -> Iterator[Tab]:
    """The page, newly opened; in the end nothing may have failed in it, nor gone to somebody else."""
    tab = started[1]
    tab.call("Emulation.setDeviceMetricsOverride", width=1200, height=900, deviceScaleFactor=1, mobile=False)
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    visit(tab, server)
    yield tab
    errors = [e for e in tab.faults() if e["params"].get("entry", {}).get("source") != "network"]
    assert errors == []
    asked = [e["params"]["request"]["url"] for e in tab.events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith((server.url, "data:", "blob:", "about:"))] == []


def visit(tab: Tab, server: Fake) -> None:
    tab.call("Page.navigate", url="about:blank")
    tab.events.clear()
    tab.call("Page.navigate", url=server.url)
    tab.until("document.readyState === 'complete' && !!document.getElementById('ask')")
    tab.until("document.getElementById('told').textContent.includes('demo')")


def choose(tab: Tab, name: str, path: Path) -> None:
    root = tab.call("DOM.getDocument")["root"]["nodeId"]
    node = tab.call("DOM.querySelector", nodeId=root, selector=f"#{name}")["nodeId"]
    tab.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)


def text_of(tab: Tab, name: str) -> str:
    return tab.ask(f"document.getElementById('{name}').innerText")


def click(tab: Tab, name: str) -> None:
    tab.ask(f"document.getElementById('{name}').click()")


def shown(tab: Tab, name: str) -> bool:
    return tab.ask(f"document.getElementById('{name}').checkVisibility()")


def test_a_microphone_is_answered_while_it_is_heard(server: Fake, tab: Tab) -> None:
    server.key = KEY
    tab.ask(
        f"document.getElementById('key').value = '{KEY}'; document.getElementById('text').value = 'not again'"
    )
    tab.ask("document.getElementById('record').focus()")
    tab.press(" ")
    tab.until("document.getElementById('heading').innerText === 'Right now'")
    assert text_of(tab, "recordname") == "Stop"
    assert "anger" in text_of(tab, "rightnow").lower() or "nobody" in text_of(tab, "rightnow")
    assert shown(tab, "timeline")
    tab.until("data.steps.length === 4 && data.peaks.bytes.some((peak) => peak > 200)")
    assert text_of(tab, "verdict").startswith("Unsure")
    assert tab.ask("view.to - view.from") == 15
    click(tab, "stop")
    tab.until("document.getElementById('heading').innerText === 'Overall'")
    assert text_of(tab, "verdict").split() == ["Anger", "62%", "confident"]
    assert not shown(tab, "listening")
    assert "Anger, 62% confident" in text_of(tab, "status")
    (start,) = server.starts
    assert (start["type"], start["format"], start["rate"]) == ("start", "s16le", 16_000)
    assert (start["text"], start["key"]) == ("not again", KEY)
    sound = np.frombuffer(server.heard, "<i2")
    assert len(sound) % 1600 == 0
    assert len(sound) >= 2 * 16_000
    assert 12_000 < np.abs(sound).max() < 18_000  # as loud as it is: no gain, no noise gate
    # What was said can be heard again, and the words stand on the timeline as they are, not as markup.
    tab.until("audio.readyState > 0")
    assert tab.ask("audio.duration") == pytest.approx(len(sound) / 16_000, abs=0.01)
    assert tab.ask("data.words.map((word) => word[0])") == ["not", "<b>again</b>"]
    assert tab.ask("document.querySelector('#spans q').textContent") == "not <b>again</b>"
    assert KEY not in text_of(tab, "curl")
    assert "$AFFETTO_KEY" in text_of(tab, "curl")


def test_files_and_words_are_asked_together(server: Fake, tab: Tab, tmp_path: Path) -> None:
    clip = spoken(tmp_path / "it's.wav", rate=44_100)
    picture = tmp_path / "face.png"
    picture.write_bytes(
        base64.b64decode(
            "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
        )
    )
    choose(tab, "audiofile", clip)
    choose(tab, "imagefile", picture)
    tab.until("document.getElementById('preview').checkVisibility()")
    tab.ask("document.getElementById('text').focus()")
    tab.call("Input.insertText", text="No, not <again>")
    tab.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", modifiers=2)
    tab.until("document.getElementById('answer').checkVisibility()")
    (form,) = server.forms
    assert form["audio_file"] == ("it's.wav", clip.read_bytes())
    assert form["image_file"] == ("face.png", picture.read_bytes())
    assert (form["text"], form["timeline"]) == ("No, not <again>", "true")
    assert tab.ask("data.peaks.seconds * data.peaks.bytes.length") == pytest.approx(3.0, abs=0.03)
    assert "-F 'audio_file=@\"it'\\''s.wav\"'" in text_of(tab, "curl")
    assert text_of(tab, "bars").split()[:2] == ["anger", "62%"]
    assert "speech" in text_of(tab, "views")
    assert "together" not in text_of(tab, "views")  # it did not count
    assert "not calibrated" in text_of(tab, "warnings")
    assert tab.ask("document.activeElement.id") == "answer"
    # The picture of time is moved over as the timeline's own page is.
    tab.ask("document.getElementById('chart').focus()")
    tab.press("]")
    assert tab.ask("document.getElementById('chart').getAttribute('aria-valuetext')") == "0:01, nobody speaks"
    tab.ask("document.querySelectorAll('#spans button')[2].click()")
    assert tab.ask("at") == 1.5
    tab.ask("document.querySelector('#audiopicked button').click()")
    assert not shown(tab, "audiopicked")

    server.prediction = UNSURE
    click(tab, "ask")
    tab.until("document.getElementById('verdict').innerText.startsWith('Unsure')")
    assert "No emotion stands out clearly enough." in text_of(tab, "verdict")
    assert "audio_file" not in server.forms[1]
    assert not shown(tab, "timeline")
    click(tab, "clear")
    assert not any(shown(tab, name) for name in ("answer", "transcript", "elsewhere", "preview"))
    assert tab.ask("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]


def test_dropped_things_find_their_places(server: Fake, tab: Tab, tmp_path: Path) -> None:
    sound = base64.b64encode(spoken(tmp_path / "memo.wav", seconds=0.5).read_bytes()).decode()
    tab.ask(
        f"""(() => {{
          const given = new DataTransfer();
          const bytes = Uint8Array.from(atob("{sound}"), (c) => c.charCodeAt(0));
          given.items.add(new File([bytes], "memo.m4a", {{ type: "audio/mp4" }}));
          given.items.add(new File(["1\\n00:00:00,000 --> 00:00:01,000\\nno\\n"], "memo.srt"));
          given.items.add(new File(["what was said\\n"], "note.txt", {{ type: "text/plain" }}));
          given.items.add(new File(["%PDF"], "paper.pdf", {{ type: "application/pdf" }}));
          window.dispatchEvent(new DragEvent("dragover", {{ dataTransfer: given, cancelable: true }}));
          window.sawOverlay = document.getElementById("drop").checkVisibility();
          window.dispatchEvent(new DragEvent("drop", {{ dataTransfer: given, cancelable: true }}));
        }})()"""
    )
    assert tab.ask("sawOverlay")
    assert not shown(tab, "drop")
    tab.until("document.getElementById('problems').children.length === 1")
    assert "paper.pdf is none of the kinds" in text_of(tab, "problems")
    assert tab.ask("document.getElementById('text').value") == "what was said"
    click(tab, "ask")
    tab.until("document.getElementById('answer').checkVisibility()")
    (form,) = server.forms
    # What the server cannot read and the browser can is sent as a WAV file.
    name, data = form["audio_file"]
    assert (name, data[:4], len(data)) == ("memo.wav", b"RIFF", 44 + 2 * 8000)
    assert form["words"][0] == "memo.srt"


def test_what_goes_wrong_is_said_with_what_to_do(server: Fake, tab: Tab, tmp_path: Path) -> None:
    click(tab, "ask")
    assert "Speak, write something, or choose a file first." in text_of(tab, "status")
    server.fail(503, "queue_full", "Too much to do: ask again in a moment.", retryable=True, Retry_After="1")
    tab.ask("document.getElementById('text').value = 'a'")
    click(tab, "ask")
    tab.until("!document.getElementById('problems').hidden")
    said = text_of(tab, "problems")
    assert "ask again in a moment" in said
    assert "queue_full · request r-1" in said
    tab.ask("document.querySelector('#problems button').click()")
    tab.until("document.getElementById('answer').checkVisibility()")
    assert not shown(tab, "problems")

    server.fail(400, "audio_corrupt", "audio_file: cannot be decoded, copy it again")
    click(tab, "ask")
    tab.until("document.getElementById('problems').innerText.includes('The recording: cannot be decoded')")
    assert tab.ask("[...document.querySelectorAll('#problems button')].map((b) => b.innerText)") == [
        "Dismiss"
    ]
    large = tmp_path / "large.wav"
    large.write_bytes(bytes(2 * 2**20))
    choose(tab, "audiofile", large)
    tab.until(
        "document.getElementById('problems').innerText.includes('has 2 MB, and this server takes 1 MB')"
    )

    tab.ask(
        "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotAllowedError'))"
    )
    click(tab, "record")
    tab.until("document.getElementById('problems').innerText.includes('may not use the microphone')")
    assert text_of(tab, "recordname") == "Start speaking"
    tab.ask("fetch = () => Promise.reject(new TypeError('Failed to fetch'))")
    click(tab, "ask")
    tab.until("document.getElementById('problems').innerText.includes('does not answer')")
    assert tab.ask("document.getElementById('problems').children.length") == 3  # the latest


def test_a_stream_that_fails_says_why_and_lets_go_of_the_microphone(server: Fake, tab: Tab) -> None:
    server.stream_error = {"code": "streams_full", "message": "Too many speak: try later.", "retryable": True}
    click(tab, "record")
    tab.until("document.getElementById('problems').innerText.includes('Too many speak')")
    assert tab.ask("microphone") is None
    assert not shown(tab, "listening")


def test_the_documented_javascript_runs(server: Fake, tab: Tab) -> None:
    page = (Path(__file__).parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")
    code = (
        page.split("```js\n")[1]
        .split("```")[0]
        .replace("ws://127.0.0.1:8000", server.url.replace("http", "ws"))
    )
    tab.ask(f"{code}; window.documented = listenTo; 0")
    tab.ask("window.steps = []; 0")
    heard = tab.ask("documented(new Int16Array(32000).fill(7), 16000, (step) => steps.push(step.emotion))")
    assert heard == json.loads(json.dumps(PREDICTION.to_dict()))
    assert tab.ask("steps") == [step.emotion for step in PREDICTION.segments]
    assert server.heard == np.full(32_000, 7, "<i2").tobytes()


def test_a_key_is_asked_for_where_there_is_one(server: Fake, tab: Tab) -> None:
    assert not shown(tab, "key")
    server.key = KEY
    visit(tab, server)
    tab.until("document.getElementById('key').checkVisibility()")
    tab.ask("document.getElementById('text').value = 'a'")
    for key, answered in (("wrong", False), (KEY, True)):
        tab.ask(f"document.getElementById('key').value = '{key}'")
        click(tab, "ask")
        name = "answer" if answered else "problems"
        tab.until(f"document.getElementById('{name}').checkVisibility()")
        if not answered:
            assert tab.ask("document.activeElement.id") == "key"
            assert "Type another at the top" in text_of(tab, "problems")


def test_everybody_can_use_it(server: Fake, tab: Tab) -> None:
    # The keyboard alone, in the order of the page, and always with a frame around what has the focus.
    order = []
    for _ in range(9):
        tab.call("Input.dispatchKeyEvent", type="keyDown", key="Tab", windowsVirtualKeyCode=9)
        order.append(tab.ask("document.activeElement.id || document.activeElement.innerText"))
        assert tab.ask(f"getComputedStyle({FRAMED}).outlineStyle") != "none", order
    assert order[:3] == ["record", "audiofile", "text"]
    assert order[6:9] == ["imagefile", "ask", "clear"]

    server.prediction = replace(PREDICTION, warnings=("not_calibrated", "words_late"))
    server.fail(400, "audio_corrupt", "cannot be decoded: copy it again")
    tab.ask("document.getElementById('text').value = 'a'")
    click(tab, "ask")
    tab.until("document.getElementById('problems').checkVisibility()")
    click(tab, "ask")
    tab.until("document.getElementById('timeline').checkVisibility()")
    for theme in ("light", "dark"):
        tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        tab.until("!document.getAnimations().length")
        assert tab.ask(CONTRAST) == [], theme
    for columns in (320, 390, 800, 1000, 1600):
        tab.call(
            "Emulation.setDeviceMetricsOverride", width=columns, height=800, deviceScaleFactor=1, mobile=False
        )
        assert tab.ask("document.documentElement.scrollWidth") <= columns
    assert tab.ask(f"{SMALL}.length") == 0
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    acting = [
        n
        for n in nodes
        if n.get("role", {}).get("value") in ("button", "textbox", "slider", "image", "table")
    ]
    assert len(acting) > 15
    assert [n for n in acting if not n.get("ignored") and not n.get("name", {}).get("value")] == []


def test_who_wants_no_motion_gets_none(server: Fake, tab: Tab) -> None:
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    click(tab, "record")
    tab.until("document.getElementById('listening').checkVisibility() && data !== undefined")
    assert tab.ask("document.getAnimations().length") == 0
    click(tab, "stop")
    tab.until("document.getElementById('heading').innerText === 'Overall'")
    assert json.loads(tab.ask("JSON.stringify(shown)"))["emotion"] == "anger"
