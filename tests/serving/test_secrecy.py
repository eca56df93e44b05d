"""What clients send is nowhere but in their answers: not in logs, metrics or files; and nobody is called up."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from serving.bad_inputs import encode, picture, tone
from serving.running import SOURCE, Running, free_port, serving


def told(canary: str, number: int, server: Running) -> None:
    """A request in which `canary` stands wherever a client can put something, well or badly formed."""
    inside = f"LIST\0\0\0\0INFO{canary}".encode()
    kind = number % 5
    if kind == 0:
        sound = (f"{canary}.wav", encode(tone(0.3)) + inside)
        server.predict(audio_file=sound, text=f"happy {canary}", language=canary)
    elif kind == 1:
        server.predict(
            image_file=(f"../{canary}.png", picture("PNG") + canary.encode()), words=canary.encode()
        )
    elif kind == 2:
        server.predict(audio_file=(f"/{canary}", f"RIFF{canary}".encode()), **{canary: canary})
    elif kind == 3:
        body = json.dumps({"items": [{"id": canary, "text": canary, "labels": [canary]}]}).encode()
        server.ask("POST", "/v1/predict", body, {"Content-Type": "application/json", "User-Agent": canary})
    else:
        server.ask(
            "GET", f"/{canary}?{canary}={canary}", headers={"X-Canary": canary, "Authorization": canary}
        )


def test_an_answer_leaves_nothing_at_home(plain_bundle, tmp_path: Path) -> None:
    """ONNX Runtime's own builds keep there what they report, unless they are told not to."""
    script = "import sys, affetto; print(affetto.load(sys.argv[1]).predict(text='happy').emotion)"
    env = {**os.environ, "PYTHONPATH": str(SOURCE), "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", script, str(plain_bundle.path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "happiness\n"
    assert not [*tmp_path.rglob("*")]


@pytest.mark.slow
def test_a_thousand_canaries_are_in_no_log_metric_or_file(plain_bundle, tmp_path: Path) -> None:
    temporary, working = tmp_path / "temporary", tmp_path / "working"
    temporary.mkdir()
    working.mkdir()
    mark = f"canary{secrets.token_hex(4)}"
    places = {"TMPDIR": str(temporary), "HOME": str(working)}
    with serving("--bundle", str(plain_bundle.path), env=places, cwd=working) as server:
        for number in range(1000):
            told(f"{mark}{number}", number, server)
        assert server.predict(text=mark).code == "ok"
        assert mark not in server.ask("GET", "/metrics").body.decode()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(10)
    assert len(server.log) >= 1000
    assert not [line for line in server.log if mark in line]
    assert not [*temporary.rglob("*"), *working.rglob("*")]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_nobody_is_called_up_and_no_file_is_written(plain_bundle, tmp_path: Path) -> None:
    """Of all calls of all its processes: none connects to anybody, none opens a file to write to it."""
    record, port = tmp_path / "record", free_port()
    watched = ["strace", "-f", "-qq", "-e", "trace=connect,open,openat,creat", "-o", str(record)]
    command = [sys.executable, "-B", "-m", "affetto", "serve", "--purpose", "demo", "--port", str(port)]
    process = subprocess.Popen(
        [*watched, *command, "--bundle", str(plain_bundle.path)], stderr=subprocess.DEVNULL
    )
    server = Running(process, port)
    try:
        server.wait_ready(120)
        for number in range(20):
            told(f"canary{number}", number, server)
    finally:
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGTERM)
        process.wait(30)
    lines = record.read_text().splitlines()
    assert not [
        line for line in lines if " connect(" in line and not re.search(r"127\.0\.0\.1|AF_UNIX", line)
    ]
    written = [line for line in lines if re.search(r"O_WRONLY|O_RDWR|O_CREAT|creat\(", line)]
    assert not [line for line in written if "/dev/" not in line]
