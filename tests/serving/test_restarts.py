"""The beginning and the end of a server: ports, signals, restarts."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from http.client import HTTPConnection, HTTPException

import pytest

from affetto.errors import ServingError
from affetto.serving.auth import Keys
from affetto.serving.limits import Limits
from affetto.serving.purpose import Purpose
from affetto.serving.run import Settings, bind
from affetto.serving.workers import Source
from serving.running import alive, free_port, is_free, run_serve, serving, wait_for


def test_a_parent_that_is_killed_leaves_nobody_and_frees_its_port(plain_bundle):
    with serving("--bundle", str(plain_bundle.path)) as server:
        wait_for(lambda: len(server.decoders()) == 1, 30, "a decoder")
        pids = [*server.workers(), *server.decoders()]
        assert len(pids) == 2
        server.process.kill()
        server.process.wait()
        wait_for(lambda: is_free(server.port), 1.0, "the port")
        wait_for(lambda: not any(map(alive, pids)), 5, "the workers to end")


def test_sigterm_answers_what_is_under_way(plain_bundle, clip):
    with serving("--bundle", str(plain_bundle.path)) as server, ThreadPoolExecutor(8) as pool:
        (pid,) = server.workers()
        server.predict(audio_file=clip)
        os.kill(pid, signal.SIGSTOP)
        answers = [pool.submit(server.predict, audio_file=clip) for _ in range(5)]
        time.sleep(0.4)
        server.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        wait_for(lambda: server.ask("GET", "/health/ready").status == 503, 0.5, "ready to be 503")
        assert server.predict(text="happy").code == "shutting_down"
        time.sleep(0.3)
        os.kill(pid, signal.SIGCONT)
        assert [answer.result().code for answer in answers] == ["ok"] * 5
        assert server.process.wait(10) == 0
        assert time.monotonic() - began < 10
        assert not alive(pid)


@pytest.mark.slow
def test_sigterm_while_the_model_is_loaded(plain_bundle):
    with serving("--bundle", str(plain_bundle.path), ready=False) as server:
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) in (0, -signal.SIGTERM)
        assert is_free(server.port)


@pytest.mark.slow
def test_a_second_interrupt_ends_at_once(plain_bundle):
    with serving("--bundle", str(plain_bundle.path)) as server:
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(5) == 130


def test_a_port_in_use_is_told_in_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run_serve("--purpose", "demo", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.rstrip().endswith("[bind_failed]")


def test_a_port_that_is_not_ours_to_take_is_told():
    """As another user than root, who may take any."""
    settings = Settings(Purpose("demo"), Source(), "127.0.0.1", 1, 1, Keys(), Limits())
    pid = os.fork()
    if pid == 0:
        code = 1
        with suppress(BaseException):
            if os.getuid() == 0:
                os.setuid(65534)
            try:
                bind(settings)
            except ServingError as error:
                code = 0 if error.code == "bind_failed" and "Permission denied" in str(error) else 2
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.slow
def test_twenty_rolling_restarts_fail_no_request(plain_bundle):
    """Two servers, ended and started in turn under 50 requests a second. Who is refused asks the other, once."""
    options = ("--bundle", str(plain_bundle.path), "--port")
    ports, failed, stop = (free_port(), free_port()), [], threading.Event()

    def client(first: int) -> None:
        while not stop.is_set():
            codes = [_asked(ports[first])]
            if codes != ["ok"]:
                codes.append(_asked(ports[1 - first]))
            if codes[-1] != "ok":
                failed.append(codes)
            first = 1 - first
            time.sleep(0.1)

    with ExitStack() as stack:
        servers = [stack.enter_context(serving(*options, str(port))) for port in ports]
        clients = [threading.Thread(target=client, args=(number % 2,)) for number in range(5)]
        for thread in clients:
            thread.start()
        for number in range(20):
            which = number % 2
            servers[which].process.send_signal(signal.SIGTERM)
            assert servers[which].process.wait(10) == 0
            servers[which] = stack.enter_context(serving(*options, str(ports[which])))
        stop.set()
        for thread in clients:
            thread.join()
    assert not failed


def _asked(port: int) -> str:
    """The code of an answer; "closed" for none."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/predict?text=happy")
        answer = connection.getresponse()
        body = answer.read()
        return "ok" if answer.status == 200 else json.loads(body)["code"]
    except (OSError, HTTPException):
        return "closed"
    finally:
        connection.close()
