"""Headless Chromium, driven over its debugging protocol as a hand and a keyboard would."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--mute-audio",
          "--disable-component-update", "--no-first-run", "--remote-debugging-port=0")  # fmt: skip


class Tab:
    """One tab. `events` keeps the faults and requests that the browser tells of."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.events: list[dict[str, Any]] = []
        for domain in ("Runtime", "Log", "Network", "Page"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            said = json.loads(self._socket.recv(timeout=60))
            if said.get("id") == number:
                return said["result"]
            self.events.append(said)

    def ask(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        deadline = time.monotonic() + 60
        while not self.ask(expression):
            assert time.monotonic() < deadline, expression
            time.sleep(0.05)

    def mouse(self, *kinds: str, x: float, y: float) -> None:
        for kind in kinds:
            held = "none" if kind == "mouseMoved" else "left"
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=held, clickCount=1)

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key)

    def faults(self) -> list[dict[str, Any]]:
        return [e for e in self.events if e["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]


@contextmanager
def browsing(folder: Path, *flags: str) -> Iterator[Tab]:
    """A browser with one tab, whose profile lies in `folder`; `flags` beside the usual ones."""
    from websockets.sync.client import connect

    browser = subprocess.Popen(
        [str(CHROMIUM), f"--user-data-dir={folder}", *_FLAGS, *flags, "about:blank"],
        stderr=subprocess.DEVNULL,
    )
    try:
        told, deadline = folder / "DevToolsActivePort", time.monotonic() + 60
        while not (told.exists() and told.read_text().count("\n")):
            assert time.monotonic() < deadline, "Chromium does not start"
            time.sleep(0.1)
        with urllib.request.urlopen(f"http://127.0.0.1:{told.read_text().split()[0]}/json") as answer:
            page = next(target for target in json.load(answer) if target["type"] == "page")
        with connect(page["webSocketDebuggerUrl"], max_size=None) as socket:
            yield Tab(socket)
    finally:
        browser.terminate()
        browser.wait()
