"""One command as several processes on this machine, as torchrun would start them, ended together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryFile
from typing import IO

_GRACE = 20.0  # seconds in which the others may end by themselves once one has failed
_POLL = 0.05
_PR_SET_PDEATHSIG = 1


def launch(command: Sequence[str], count: int) -> int:
    """Run the command `count` times, as ranks 0 to count - 1 of one group, and wait. Returns their exit code.

    Rank 0 speaks; of the others only the one that failed first is heard. Ctrl-C and SIGTERM go to all of them.
    A launcher that is killed takes them along by SIGTERM (on Linux), so that they save and stop.
    """
    port = _free_port()
    with ExitStack() as opened:
        errors = [opened.enter_context(TemporaryFile()) for _ in range(count)]
        processes = [_start(command, rank, count, port, errors[rank]) for rank in range(count)]
        try:
            with _handed_on(processes):
                first = _wait(processes)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        if first is None:
            return 0
        errors[first].seek(0)
        sys.stderr.write(errors[first].read().decode(errors="replace"))
    code = processes[first].returncode
    if code > 0:
        return code
    print(f"error: process {first} of {count} was ended by signal {-code} [process_lost]", file=sys.stderr)
    return 1


def _start(
    command: Sequence[str], rank: int, count: int, port: int, errors: IO[bytes]
) -> subprocess.Popen[bytes]:
    place = {
        "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
    }  # fmt: skip
    # Without the second, torch says at every start that a run may be faster if each batch had every modality.
    quiet = {
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count)),
        "TORCH_CPP_LOG_LEVEL": "ERROR",
    }
    return subprocess.Popen(
        command,
        env={**quiet, **os.environ, **{name: str(value) for name, value in place.items()}},
        stdin=subprocess.DEVNULL,
        stderr=None if rank == 0 else errors,
        start_new_session=True,  # or Ctrl-C in a terminal would reach them twice, which means "at once"
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )


def _end_with_parent() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def _handed_on(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Signals that ask this process to end go to those."""

    def hand_on(number: int, frame: object) -> None:
        for process in processes:
            process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Until all have ended. Returns the first that was seen to fail; the others may then finish their sentence."""
    first: int | None = None
    until = float("inf")
    while any(process.poll() is None for process in processes) and time.monotonic() < until:
        time.sleep(_POLL)
        failed = [rank for rank, process in enumerate(processes) if process.poll()]
        if failed and first is None:
            first, until = failed[0], time.monotonic() + _GRACE
    return first if first is not None else next((r for r, p in enumerate(processes) if p.poll()), None)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
