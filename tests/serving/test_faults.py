"""Faults of a running server: processes that die or hang, files that run out, numbers that are none."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from serving.bad_inputs import encode, tone
from serving.running import SOURCE, Running, alive, free_port, memory, run_serve, serving, wait_for

WORK_DONE = r'affetto_stage_seconds_count\{stage="work"\}'


@pytest.fixture(scope="module")
def fragile(plain_bundle):
    with serving("--bundle", str(plain_bundle.path), "--timeout", "2") as running:
        yield running


@pytest.fixture
def server(fragile):
    """A server whose workers the tests kill; answers take at most 2 s."""
    fragile.wait_ready()
    wait_for(lambda: len(fragile.workers()) == len(fragile.decoders()) == 1, 30, "a worker")
    wait_for(lambda: fragile.predict(text="happy").code == "ok", 30, "an answer")
    return fragile


@pytest.fixture
def bundle(plain_bundle, tmp_path) -> Path:
    """A copy of the plain bundle that a test may damage."""
    return Path(shutil.copytree(plain_bundle.path, tmp_path / "bundle"))


def during(server: Running, pid: int, number: int, **fields) -> Future:
    """Send a request while a process is stopped, then send it a signal and let it go on."""
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.predict, **fields)
        time.sleep(0.2)
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)
        answer.exception()
    return answer


def test_a_worker_that_is_killed_costs_its_request_alone(server):
    (pid,) = server.workers()
    answer = during(server, pid, signal.SIGKILL, text="happy").result()
    assert (answer.status, answer.code) == (503, "worker_died")
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["retryable"]
    wait_for(lambda: server.workers() not in ([], [pid]) and server.is_ready(), 30, "a new worker")
    assert server.predict(text="happy").code == "ok"


def test_a_worker_that_dies_idle_is_replaced(server):
    (pid,) = server.workers()
    os.kill(pid, signal.SIGSEGV)
    wait_for(lambda: server.workers() not in ([], [pid]) and server.is_ready(), 30, "a new worker")
    assert server.predict(text="happy").code == "ok"


def test_a_decoder_that_segfaults_harms_nobody(server, clip):
    """One that dies before it has begun is replaced, and the request does not notice."""
    server.predict(audio_file=clip)
    (worker,), (decoder,) = server.workers(), server.decoders()
    assert during(server, decoder, signal.SIGSEGV, audio_file=clip).result().code == "ok"
    assert not alive(decoder)
    assert server.workers() == [worker]


def test_a_worker_that_hangs_is_told_in_time_and_replaced(server):
    (pid,) = server.workers()
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    answer = server.predict(text="happy")
    assert (answer.status, answer.code) == (504, "deadline_exceeded")
    assert 1.9 < time.monotonic() - began < 4
    assert server.ask("GET", "/health/live").status == 200
    wait_for(lambda: not alive(pid), 5, "the watchdog")
    wait_for(lambda: server.workers() not in ([], [pid]) and server.is_ready(), 30, "a new worker")
    assert server.predict(text="happy").code == "ok"


def test_a_deadline_that_passes_in_the_queue_never_reaches_the_worker(server):
    (pid,) = server.workers()
    expired = server.metric("affetto_expired_total")
    os.kill(pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(server.predict, text="happy")
            time.sleep(0.2)
            began = time.monotonic()
            second = server.predict(text="happy", timeout_ms=150)
            took = time.monotonic() - began
            os.kill(pid, signal.SIGCONT)
            assert first.result().code == "ok"
    finally:
        os.kill(pid, signal.SIGCONT)
    assert second.code == "deadline_exceeded"
    assert took < 1
    assert server.metric("affetto_expired_total") == expired + 1


def test_clients_that_left_the_queue_are_not_worked_for(server):
    (pid,) = server.workers()
    served = server.metric(WORK_DONE)
    os.kill(pid, signal.SIGSTOP)
    try:
        connections = [server.connect() for _ in range(10)]
        for connection in connections:
            connection.sendall(b"POST /predict?text=happy HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for(lambda: server.metric("affetto_busy") >= 2, 10, "the queue")
        for connection in connections:
            connection.close()
        wait_for(lambda: server.metric("affetto_busy") <= 1, 10, "the queue to empty")
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: server.metric("affetto_busy") == 0, 10, "the worker")
    assert server.metric(WORK_DONE) <= served + 1


def test_a_stream_whose_worker_dies_is_told(server, clip):
    import json

    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    with connect(f"ws://127.0.0.1:{server.port}/stream") as socket:
        socket.send('{"type": "start"}')
        socket.recv(20)
        os.kill(server.workers()[0], signal.SIGKILL)
        time.sleep(0.2)
        socket.send(clip[44:])
        assert json.loads(socket.recv(20))["code"] == "worker_died"
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(20)
    assert closed.value.rcvd.code == 1011
    server.wait_ready()


@pytest.mark.slow
def test_files_run_out_and_come_back(plain_bundle):
    few = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))}
    with serving("--bundle", str(plain_bundle.path), **few) as server:
        connections = [server.connect() for _ in range(80)]
        time.sleep(0.3)
        answer = _read_refusal(connections)
        assert b"503" in answer
        assert b"retry-after: 1" in answer
        for connection in connections:
            connection.close()
        wait_for(server.is_ready, 10, "the server to recover")
        assert server.predict(text="happy").code == "ok"


@pytest.mark.slow
def test_nan_among_the_weights_is_refused_at_load(bundle, variant):
    import onnx
    from onnx import numpy_helper

    model = onnx.load(bundle / "text.int8.onnx")
    table = model.graph.initializer[0]
    values = numpy_helper.to_array(table).copy()
    values[3, 2] = float("nan")
    table.CopyFrom(numpy_helper.from_array(values, table.name))
    bad = variant(files={"text.int8.onnx": model.SerializeToString()})
    done = run_serve("--purpose", "demo", "--port", "0", "--bundle", str(bad.path))
    assert done.returncode == 2
    assert "NaN" in done.stderr
    assert done.stderr.rstrip().endswith("[bundle_invalid]")


@pytest.mark.slow
def test_an_answer_that_is_not_finite_fails_its_item_alone(bundle, variant):
    import json

    import onnx
    from onnx import numpy_helper

    model = onnx.load(bundle / "text.int8.onnx")
    table = model.graph.initializer[0]
    values = numpy_helper.to_array(table).copy()
    values[2] = 3e38  # "furious": finite, but its sum over two words is not
    table.CopyFrom(numpy_helper.from_array(values, table.name))
    bad = variant(files={"text.int8.onnx": model.SerializeToString()})
    with serving("--bundle", str(bad.path)) as server:
        items = [{"text": text} for text in ("happy", "furious furious", "gloomy")]
        body = json.dumps({"items": items}).encode()
        answer = server.ask("POST", "/v1/predict", body, {"Content-Type": "application/json"})
        assert b"NaN" not in answer.body
        good, failed, last = answer.json()["results"]
        assert good["prediction"]["emotion"] == "happiness"
        assert last["prediction"]["emotion"] == "sadness"
        assert failed["error"]["code"] == "internal"
        assert server.predict(text="furious furious").status == 500


@pytest.mark.slow
def test_a_full_disk_behind_the_log_and_no_temporary_folder(plain_bundle, tmp_path):
    port = free_port()
    arguments = [sys.executable, "-m", "affetto", "serve", "--purpose", "demo", "--port", str(port)]
    env = {**os.environ, "PYTHONPATH": str(SOURCE), "TMPDIR": str(tmp_path / "nowhere")}
    with open("/dev/full", "w") as full:
        process = subprocess.Popen([*arguments, "--bundle", str(plain_bundle.path)], stderr=full, env=env)
        server = Running(process, port)
        try:
            server.wait_ready()
            assert server.predict(audio_file=encode(tone(60.0))).status == 200
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0


def test_what_needs_an_extra_that_is_not_there_is_told_and_the_rest_goes_on(plain_bundle, tmp_path, clip):
    (tmp_path / "av.py").write_text("raise ImportError")
    modules = f"{tmp_path}{os.pathsep}{SOURCE}"
    with serving("--bundle", str(plain_bundle.path), env={"PYTHONPATH": modules}) as server:
        answer = server.predict(audio_file=b"\0\0\0\x18ftypM4A " + bytes(100))
        assert (answer.status, answer.code) == (415, "video_unsupported")
        assert server.predict(audio_file=clip).status == 200


def test_memory_of_a_gigabyte_that_is_refused(plain):
    """By Content-Length before a byte is read, by count where there is none."""
    before = memory(plain.process.pid)
    with plain.connect() as connection:
        head = (
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        )
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"%x\r\n" % 2**18 + bytes(2**18) + b"\r\n"
        began = time.monotonic()
        with pytest.raises(OSError):
            for _ in range(4096):
                connection.sendall(chunk)
        assert time.monotonic() - began < 5
    assert memory(plain.process.pid) - before < 2 * 4 + 16


def _read_refusal(connections: list[socket.socket]) -> bytes:
    for connection in connections:
        connection.settimeout(0.05)
        try:
            if data := connection.recv(1000):
                return data
        except OSError:
            continue
    return b""


@pytest.mark.slow
def test_health_is_told_while_others_take_the_processor(plain):
    """Four times as many processes as cores, and requests of its own."""
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4 * (os.cpu_count() or 1))
    ]
    stop, took = threading.Event(), []

    def load() -> None:
        while not stop.is_set():
            plain.predict(text="happy")

    loader = threading.Thread(target=load)
    loader.start()
    try:
        for _ in range(30):
            began = time.monotonic()
            assert plain.ask("GET", "/health/live").status == 200
            took.append(time.monotonic() - began)
            time.sleep(0.05)
    finally:
        stop.set()
        for process in busy:
            process.kill()
            process.wait()
        loader.join()
    assert max(took) <= 1.0
