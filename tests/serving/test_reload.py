"""Bundles that change under a running server."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from serving.running import serving, wait_for


@pytest.fixture
def bundle(plain_bundle, tmp_path) -> Path:
    """A copy of the plain bundle that a test may damage."""
    return Path(shutil.copytree(plain_bundle.path, tmp_path / "bundle"))


@pytest.mark.slow
def test_twenty_reloads_under_load_lose_nothing(bundle, plain_bundle, variant):
    bundles = [variant(name="newer"), plain_bundle]
    with serving("--bundle", str(bundle), "--workers", "2") as server:
        answers, stop = [], threading.Event()

        def load() -> None:
            while not stop.is_set():
                answers.append(server.predict(text="happy"))

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(20):
            new = bundles[number % 2]
            _replace(bundle, new.path)
            server.process.send_signal(signal.SIGHUP)
            wait_for(lambda: server.metric("affetto_reloads_total") == number + 1, 60, "the reload")  # noqa: B023
            assert server.ask("GET", "/health/ready").json()["model"] == new.sha256
        stop.set()
        for thread in threads:
            thread.join()
        assert {answer.code for answer in answers} == {"ok"}
        known = {one.sha256 for one in bundles}
        for answer in answers:
            assert answer.headers["affetto-model"] == answer.json()["model"]["sha256"] in known
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


def _replace(folder: Path, other: Path) -> None:
    """Put another bundle where one lies, at once."""
    shutil.copytree(other, folder.with_name("new"))
    folder.rename(folder.with_name("old"))
    folder.with_name("new").rename(folder)
    shutil.rmtree(folder.with_name("old"))
