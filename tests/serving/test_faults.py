"""Faults of a running server: processes that die or hang, signals, bundles that change under it."""

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
from serving.running import SOURCE, Running, alive, memory, serving, wait_for

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


def test_a_parent_that_is_killed_leaves_nobody_and_frees_its_port(plain_bundle):
    with serving("--bundle", str(plain_bundle.path), "--workers", "2") as server:
        wait_for(lambda: len(server.decoders()) == 2, 30, "two decoders")
        pids = [*server.workers(), *server.decoders()]
        assert len(pids) == 4
        server.process.kill()
        server.process.wait()
        wait_for(lambda: _is_free(server.port), 1.0, "the port")
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
        assert _is_free(server.port)


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
        done = _serve("--purpose", "demo", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.rstrip().endswith("[bind_failed]")


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
def test_a_reload_under_load_loses_nothing(bundle, variant):
    new = variant(name="newer")
    with serving("--bundle", str(bundle), "--workers", "2") as server:
        answers, stop = [], threading.Event()

        def load() -> None:
            while not stop.is_set():
                answers.append(server.predict(text="happy"))

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        old = server.ask("GET", "/health/ready").json()["model"]
        _replace(bundle, new.path)
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: server.metric("affetto_reloads_total") == 1, 60, "the reload")
        wait_for(
            lambda: server.predict(text="happy").headers["affetto-model"] == new.sha256, 30, "the new model"
        )
        time.sleep(0.2)
        stop.set()
        for thread in threads:
            thread.join()
        assert {answer.code for answer in answers} == {"ok"}
        for answer in answers:
            assert answer.headers["affetto-model"] == answer.json()["model"]["sha256"] in (old, new.sha256)
        wait_for(lambda: len(server.workers()) == 2, 30, "the old workers to end")


@pytest.mark.slow
def test_a_corrupt_bundle_is_refused_and_the_old_one_goes_on(bundle, plain_bundle):
    with serving("--bundle", str(bundle)) as server:
        (bundle / "text.int8.onnx").write_bytes(b"damaged")
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: server.metric("affetto_reloads_total") == 1, 60, "the reload")
        answer = server.predict(text="happy")
        assert answer.code == "ok"
        assert answer.headers["affetto-model"] == plain_bundle.sha256
        assert any("reload refused" in line for line in server.log)


@pytest.mark.slow
def test_a_bundle_that_is_deleted_is_not_missed_until_a_worker_dies(bundle, clip, plain_bundle):
    with serving("--bundle", str(bundle)) as server:
        shutil.rmtree(bundle)
        assert server.predict(text="happy", audio_file=clip).code == "ok"
        os.kill(server.workers()[0], signal.SIGKILL)
        wait_for(lambda: not server.is_ready(), 10, "the worker to be missed")
        answer = server.predict(text="happy")
        assert (answer.status, answer.code) == (503, "not_ready")
        wait_for(lambda: any("could not start" in line for line in server.log), 30, "a try")
        time.sleep(2.0)
        assert sum("could not start" in line for line in server.log) <= 8  # it backs off
        shutil.copytree(plain_bundle.path, bundle)
        server.wait_ready()


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
    done = _serve("--purpose", "demo", "--port", "0", "--bundle", str(bad.path))
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
    port = _free_port()
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


def _replace(folder: Path, other: Path) -> None:
    """Put another bundle where one lies, at once."""
    folder.rename(folder.with_name("old"))
    shutil.copytree(other, folder)


def _serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-m", "affetto", "serve", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=20)


def _read_refusal(connections: list[socket.socket]) -> bytes:
    for connection in connections:
        connection.settimeout(0.05)
        try:
            if data := connection.recv(1000):
                return data
        except OSError:
            continue
    return b""


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
