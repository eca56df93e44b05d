"""The page, a microphone that hears a recording, and the real server with the shipped bundle."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from browser import CHROMIUM, Tab, browsing
from serving.running import SOURCE, Running, serving

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

TEXT = "Thank you so much!"
RECORDED = """(async () => {
  const bytes = new Uint8Array(await window.recorded.arrayBuffer());
  return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ""));
})()"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Tab]]:
    folder = tmp_path_factory.mktemp("live")
    sound, rate = soundfile.read(SOURCE.parent / "examples" / "thanks.flac")
    soundfile.write(folder / "heard.wav", np.concatenate([sound, np.zeros(rate)]), rate)
    flags = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
             f"--use-file-for-fake-audio-capture={folder / 'heard.wav'}")  # fmt: skip
    index = str(folder / "my.index")
    command = [sys.executable, "-m", "affetto", "index", str(SOURCE.parent / "examples"), "-o", index]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(SOURCE)}, capture_output=True)
    with serving("--index", index) as server, browsing(folder / "chromium", *flags) as tab:
        tab.call("Page.navigate", url=f"http://127.0.0.1:{server.port}/")
        tab.until("document.readyState === 'complete' && document.getElementById('model').textContent !== ''")
        yield server, tab


def click(tab: Tab, name: str) -> None:
    tab.ask(f"document.getElementById('{name}').click()")


def test_what_is_heard_live_is_answered_as_its_recording_is(opened: tuple[Running, Tab]) -> None:
    server, tab = opened
    tab.ask(f"document.getElementById('text').value = {json.dumps(TEXT)}")
    tab.ask("window.kept = keep; keep = (wav) => { window.recorded = wav; kept(wav); }; 0")
    click(tab, "record")
    tab.until("data?.steps.length >= 6")
    click(tab, "stop")
    tab.until("document.getElementById('heading').innerText === 'Overall' && !!window.recorded")
    said = json.loads(tab.ask("JSON.stringify(shown)"))
    recorded = base64.b64decode(tab.ask(RECORDED))
    again = server.predict(audio_file=recorded, text=TEXT, timeline="true").json()
    assert said["duration"] == again["duration"] >= 3
    assert len(said["segments"]) == len(again["segments"])
    assert list(said["probabilities"]) == list(again["probabilities"])
    for name, probability in again["probabilities"].items():
        assert said["probabilities"][name] == pytest.approx(probability, abs=1e-6)
    assert tab.faults() == []


def test_a_recording_and_words_and_a_picture_are_answered(opened: tuple[Running, Tab]) -> None:
    _, tab = opened
    click(tab, "clear")
    tab.call("DOM.enable")
    root = tab.call("DOM.getDocument")["root"]["nodeId"]
    files: dict[str, Path] = {
        name: SOURCE.parent / "examples" / file
        for name, file in (("audiofile", "call.flac"), ("imagefile", "smiling.png"))
    }
    for name, path in files.items():
        node = tab.call("DOM.querySelector", nodeId=root, selector=f"#{name}")["nodeId"]
        tab.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)
    tab.ask(f"document.getElementById('text').value = {json.dumps(TEXT)}")
    click(tab, "ask")
    tab.until("document.getElementById('timeline').checkVisibility()")
    assert set(tab.ask("Object.keys(shown.modalities)")) >= {"speech", "text", "vision"}
    assert tab.faults() == []


def test_clips_are_found_where_there_is_an_index(opened: tuple[Running, Tab]) -> None:
    server, tab = opened
    body = json.dumps({"text": "angry"}).encode()
    hits = server.ask("POST", "/v1/search", body, {"Content-Type": "application/json"}).json()["hits"]
    assert tab.ask("document.getElementById('index').checkVisibility()")
    tab.ask("document.getElementById('query').value = 'angry'")
    tab.ask("document.getElementById('searching').requestSubmit()")
    tab.until(f"document.getElementById('hits').children.length === {len(hits)}")
    first = tab.ask("document.getElementById('hits').firstChild.innerText")
    assert f"{hits[0]['score']:.2f}" in first
    assert hits[0]["file"] in first
