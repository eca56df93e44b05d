"""A server in a process of its own, and clients that can misbehave. Traffic goes to 127.0.0.1 only."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[2] / "src"
BOUNDARY = "affetto-test-boundary"


@dataclass
class Answer:
    """Status, headers (lower case) and body of one response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of an error; "ok" for a success."""
        return "ok" if self.status < 400 else self.json()["code"]


@dataclass
class Running:
    """A server that runs. `log` grows while it does."""

    process: subprocess.Popen[str]
    port: int = 0
    log: list[str] = field(default_factory=list)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] = {},
        timeout: float = 30.0,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    def predict(self, timeout: float = 30.0, **fields: Any) -> Answer:
        body, headers = form(**fields)
        return self.ask("POST", "/predict", body, headers, timeout)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=15)

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        lines = self.ask("GET", "/metrics").body.decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if re.match(rf"{name}(\{{|\s)", line))

    def workers(self) -> list[int]:
        """Process ids of the model workers."""
        return [pid for pid in children(self.process.pid) if "affetto.serving.worker" in command(pid)]

    def decoders(self) -> list[int]:
        """Process ids of the decoders of all workers."""
        found = [pid for worker in self.workers() for pid in children(worker)]
        return [pid for pid in found if "affetto.media.child" in command(pid)]

    def wait_ready(self, seconds: float = 30.0) -> None:
        wait_for(lambda: self.is_ready(), seconds, "the server to be ready")

    def is_ready(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            return self.ask("GET", "/health/ready", timeout=2).status == 200
        return False


@contextmanager
def serving(
    *options: str, ready: bool = True, env: Mapping[str, str] = {}, **popen: Any
) -> Iterator[Running]:
    """`affetto serve --purpose demo --port 0` with more options, until the block ends."""
    arguments = [sys.executable, "-m", "affetto", "serve", "--purpose", "demo", "--port", "0", *options]
    modules = {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        arguments,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **modules, **env},
        **popen,
    )
    server = Running(process)
    reader = threading.Thread(target=_read, args=(server,), daemon=True)
    reader.start()
    try:
        wait_for(lambda: server.port or process.poll() is not None, 30, "the server to bind")
        if ready and process.poll() is None:
            server.wait_ready()
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait()
        reader.join(5)
        process.stderr.close()


def run_serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`affetto serve` with arguments that it ends by itself for."""
    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-m", "affetto", "serve", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


def is_free(port: int) -> bool:
    """Whether a port can be bound."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _read(server: Running) -> None:
    with suppress(ValueError):
        for line in server.process.stderr:
            server.log.append(line)
            found = re.match(r"affetto serves http://[^ ]+:(\d+) ", line)
            if found:
                server.port = int(found.group(1))


def form(**fields: Any) -> tuple[bytes, dict[str, str]]:
    """A multipart body and its headers; bytes become files, (name, bytes) files of that name."""
    lines = []
    for name, value in fields.items():
        file = ""
        if isinstance(value, bytes):
            value = (name, value)
        if isinstance(value, tuple):
            file, value = f'; filename="{value[0]}"', value[1]
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        lines.append(head.encode() + (value if isinstance(value, bytes) else str(value).encode()) + b"\r\n")
    body = b"".join(lines) + f"--{BOUNDARY}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def read_response(connection: socket.socket, seconds: float = 15.0) -> bytes:
    """One response, or what comes of it until the server closes, or for so long."""
    connection.settimeout(seconds)
    found = b""
    with suppress(OSError):
        while piece := connection.recv(65536):
            found += piece
            head, _, body = found.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            if length and len(body) >= int(length.group(1)):
                return head + b"\r\n\r\n" + body[: int(length.group(1))]
    return found


def code_of(response: bytes) -> str:
    """The code in a raw response; "ok" for a success, "closed" for none."""
    if not response:
        return "closed"
    head, _, body = response.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    return "ok" if status < 400 else json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])["code"]


def wait_for(condition: Any, seconds: float, what: str) -> float:
    """Wait until a condition holds; how long it took. AssertionError when it never does."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"waited {seconds} s for {what}"
        time.sleep(0.02)
    return time.monotonic() - began


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(word) for word in task.read_text().split()]
    return found


def command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def alive(pid: int) -> bool:
    """Whether a process runs (one that has ended and waits for its parent does not)."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    return False


def memory(pid: int) -> float:
    """Resident memory in MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024


def peak(pid: int) -> float:
    """The most resident memory so far, in MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", text).group(1)) / 1024


def cpu(pid: int) -> float:
    """Seconds of processor time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
