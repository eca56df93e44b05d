from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from affetto.errors import CODES, AffettoError, ConfigError, MediaError
from affetto.media.audio import AudioLimits, decode_audio, iter_audio
from affetto.media.image import ImageLimits, decode_image
from affetto.media.limits import LONG_AUDIO
from affetto.media.messages import BROKEN_OFF, Expected, collect, receive_piece, send
from affetto.media.source import Named
from affetto.media.worker import DecodingWorker

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


@pytest.fixture(scope="module")
def shared():
    """One worker for the tests that do not harm it."""
    with DecodingWorker() as worker:
        yield worker


@pytest.fixture(scope="module")
def robust():
    with DecodingWorker(timeout=20.0) as worker:
        yield worker


@pytest.fixture
def worker(robust):
    """One worker for the tests that harm its children; each finds a child that waits."""
    assert not robust._busy
    return robust


@pytest.fixture
def stuck(tmp_path):
    """A pipe into which nobody writes: opening it waits for ever."""
    os.mkfifo(tmp_path / "stuck")
    return tmp_path / "stuck"


@pytest.fixture
def silence(tmp_path, make):
    """Writes silent WAV files of any length, which take no room: they are holes."""

    def write(seconds: float, rate: int = 16_000):
        size = round(seconds * rate) * 2
        path = tmp_path / f"{seconds:g}-{rate}.wav"
        path.write_bytes(make.wav(b"", rate=rate, promised=size))
        os.truncate(path, path.stat().st_size + size)
        return path

    return write


def code_of(call, *arguments, **options) -> str:
    with pytest.raises(AffettoError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return caught.value.code


def until_silent(blocks):
    """The blocks; what ends them must be that they were silent."""
    with pytest.raises(MediaError, match="it is silent"):
        yield from blocks


def eventually(condition, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def state_of(pid: int) -> str | None:
    """The state letter of a process; None where there is none, or only what its parent has yet to bury."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            state = file.read().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return None
    return None if state == "Z" else state


# --- the same answers ---


def test_audio_is_that_of_the_function(make, shared, tmp_path):
    data = make.encode(make.noise(44_100, 25.0, 2), 44_100, "FLAC")  # more than one message
    (tmp_path / "a").write_bytes(data)
    expected = decode_audio(data)
    for source in (data, tmp_path / "a", str(tmp_path / "a")):
        answer = shared.decode_audio(source)
        assert answer.dtype == np.float32
        assert answer.flags.writeable
        assert np.array_equal(answer, expected)
    assert np.array_equal(shared.decode_audio(data, start=1.5, end=2), decode_audio(data, start=1.5, end=2))


def test_pictures_are_those_of_the_function(make, shared):
    for format in ("JPEG", "PNG", "WEBP"):
        data = make.picture(format, make.scene())
        answer = shared.decode_image(data)
        assert answer.dtype == np.uint8
        assert np.array_equal(answer, decode_image(data))


def test_relative_paths_and_standard_input(make, shared, tmp_path, monkeypatch):
    data = make.encode(make.tone())
    (tmp_path / "a.wav").write_bytes(data)
    monkeypatch.chdir(tmp_path)  # after the worker was started
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(data)))
    assert np.array_equal(shared.decode_audio("a.wav"), decode_audio(data))
    assert np.array_equal(shared.decode_audio("-"), decode_audio(data))


def test_errors_arrive_as_they_were_raised(make, shared, tmp_path):
    path = tmp_path / "notes.wav"
    path.write_bytes(b"words, only words")
    cases = [
        (decode_audio, shared.decode_audio, path, {}),
        (decode_audio, shared.decode_audio, tmp_path / "no.wav", {}),
        (decode_audio, shared.decode_audio, make.encode(make.tone()), {"start": 3.0, "end": 1.0}),
        (decode_audio, shared.decode_audio, make.wav(bytes(320), rate=0), {}),
        (decode_audio, shared.decode_audio, Named(b"", "upload.ogg"), {}),
        (decode_audio, shared.decode_audio, bytes(90), {"limits": AudioLimits(max_bytes=80)}),
        (decode_image, shared.decode_image, make.png_bomb(13_000, 13_000), {}),
        (decode_image, shared.decode_image, make.scene().tobytes(), {"limits": ImageLimits(max_bytes=9999)}),
    ]
    for function, method, source, options in cases:
        with pytest.raises(AffettoError) as expected:
            function(source, **options)
        with pytest.raises(AffettoError) as caught:
            method(source, **options)
        assert type(caught.value) is type(expected.value)
        assert (caught.value.code, str(caught.value)) == (expected.value.code, str(expected.value))
    assert {type(expected.value), ConfigError} == {MediaError, ConfigError}


def test_cuts_may_be_numpy_numbers(make, shared):
    data = make.encode(make.noise())
    cut = shared.decode_audio(data, start=np.float32(0.25), end=np.float64(0.5))
    assert np.array_equal(cut, decode_audio(data, start=0.25, end=0.5))


def test_errors_cost_no_process(make, shared):
    before = shared.pid
    assert code_of(shared.decode_audio, b"RIFF") == "audio_unknown_format"
    assert code_of(shared.decode_image, b"\xff\xd8\xff") == "image_corrupt"
    assert shared.pid == before


def test_threads_share_it(make, shared):
    sources = [make.encode(make.noise(seconds=1 + index / 10, seed=index)) for index in range(8)]
    answers: dict[int, np.ndarray] = {}

    def decode(index: int) -> None:
        answers[index] = shared.decode_audio(sources[index])

    threads = [threading.Thread(target=decode, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(answers[index], decode_audio(source)) for index, source in enumerate(sources))


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["WAV", "FLAC", "OGG", "MP3", "PNG", "JPEG", "WEBP"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    kept=st.floats(0.05, 1.0),
)
def test_damaged_media_give_an_array_or_a_code(make, shared, kind, changes, kept):
    picture = kind in ("PNG", "JPEG", "WEBP")
    data = bytearray(make.picture(kind, make.scene()) if picture else make.encode(make.noise(), format=kind))
    for share, value in changes:
        data[int(share * len(data))] = value
    decode = shared.decode_image if picture else shared.decode_audio
    code, array = "", np.ones(1)
    try:
        array = decode(bytes(data[: int(kept * len(data))]))
    except AffettoError as error:
        code = error.code
    assert code in ("", *CODES)
    assert code != "internal"
    assert array.size
    assert np.isfinite(array).all()


# --- crashes, hangs and limits ---


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_crash_costs_one_request(make, worker, stuck, number):
    worker.decode_audio(make.encode(make.tone()))
    victim = worker.pid
    threading.Timer(0.2, os.kill, (victim, number)).start()
    with pytest.raises(MediaError, match=number.name) as caught:
        worker.decode_audio(stuck)
    assert caught.value.code == "decoder_crashed"
    assert worker.pid != victim
    assert len(worker.decode_audio(make.encode(make.tone()))) == 16_000


@linux
def test_a_crash_while_idle_costs_nothing(make, worker):
    worker.decode_audio(make.encode(make.tone()))
    os.kill(worker.pid, signal.SIGKILL)
    assert eventually(lambda: state_of(worker.pid) is None)
    assert len(worker.decode_audio(make.encode(make.tone()))) == 16_000


@linux
@pytest.mark.parametrize("how", ["waits", "stopped"])
def test_a_hang_costs_one_request_and_its_time(make, stuck, how):
    good = make.encode(make.tone())
    with DecodingWorker(timeout=0.6) as worker:
        worker.decode_audio(good)
        victim = worker.pid
        if how == "stopped":
            os.kill(victim, signal.SIGSTOP)
        started = time.monotonic()
        assert code_of(worker.decode_audio, good if how == "stopped" else stuck) == "decoder_timeout"
        assert 0.5 < time.monotonic() - started < 5.0
        assert state_of(victim) is None
        assert len(worker.decode_audio(good)) == 16_000


@linux
def test_the_start_is_not_waited_for_nor_counted(make, monkeypatch, tmp_path):
    slow = tmp_path / "slow-python"
    slow.write_text(f'#!/bin/sh\nsleep 1.2\nexec {sys.executable} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(slow))
    started = time.monotonic()
    with DecodingWorker(timeout=1.0) as worker:
        assert time.monotonic() - started < 1.0
        assert len(worker.decode_audio(make.encode(make.tone()))) == 16_000
        assert time.monotonic() - started > 1.2


def test_a_child_that_cannot_start_is_told(make, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with DecodingWorker() as worker, pytest.raises(MediaError, match="could not start") as caught:
        worker.decode_audio(make.encode(make.tone()))
    assert caught.value.code == "decoder_unavailable"


def limits_of(pid: int) -> dict[str, list[str]]:
    """Name of a limit to [soft, hard, unit]."""
    with open(f"/proc/{pid}/limits") as file:
        return {line[:26].strip(): line[26:].split() for line in file}


@linux
def test_a_system_without_processes_is_told(make, monkeypatch):
    with DecodingWorker() as worker:
        worker.decode_audio(make.encode(make.tone()))
        monkeypatch.setattr(sys, "executable", "/no/such/python")
        os.kill(worker.pid, signal.SIGKILL)
        assert eventually(lambda: state_of(worker.pid) is None)
        assert code_of(worker.decode_audio, make.encode(make.tone())) == "decoder_unavailable"
        monkeypatch.undo()
        assert len(worker.decode_audio(make.encode(make.tone()))) == 16_000


@linux
def test_limits_are_set(make):
    with DecodingWorker(timeout=5.0) as worker:
        worker.decode_audio(make.encode(make.tone()))
        limits = limits_of(worker.pid)
        assert limits["Max address space"][:2] == [str(512 * 2**20)] * 2
        assert limits["Max open files"][:2] == ["16", "16"]
        assert limits["Max file size"][:2] == ["0", "0"]
        assert limits["Max core file size"][:2] == ["0", "0"]
        assert 5 <= int(limits["Max cpu time"][0]) <= 9


@linux
@pytest.mark.skipif(
    subprocess.run(["unshare", "--net", "--map-root-user", "true"], capture_output=True).returncode != 0,
    reason="the kernel grants no network of one's own",
)
def test_there_is_no_network(make, worker):
    worker.decode_audio(make.encode(make.tone()))
    assert os.readlink(f"/proc/{worker.pid}/ns/net") != os.readlink("/proc/self/ns/net")
    with open(f"/proc/{worker.pid}/net/dev") as file:
        assert [line.split(":")[0].strip() for line in file if ":" in line] == ["lo"]
    with open(f"/proc/{worker.pid}/net/route") as file:
        assert len(file.readlines()) <= 1  # its heading


@linux
def test_processor_time_is_allowed_anew_for_each_request(make, worker):
    rng = np.random.default_rng(0)
    data = make.picture("PNG", rng.integers(0, 256, (2000, 2000, 3), dtype=np.uint8))
    worker.decode_image(data)
    first = latest = int(limits_of(worker.pid)["Max cpu time"][0])
    deadline = time.monotonic() + 60
    while latest == first and time.monotonic() < deadline:  # until a second has been spent
        worker.decode_image(data)
        latest = int(limits_of(worker.pid)["Max cpu time"][0])
    assert latest > first >= 20


@linux
def test_too_little_memory_is_an_error_and_not_the_end(make):
    pixels = np.zeros((4000, 5000, 3), np.uint8)
    with DecodingWorker(memory_bytes=200 * 2**20) as worker:
        assert code_of(worker.decode_image, make.picture("PNG", pixels)) == "image_too_large"
        assert code_of(worker.decode_audio, bytes(101 * 2**20)) == "media_too_large"
        assert len(worker.decode_audio(make.encode(make.tone()))) == 16_000


def test_a_picture_of_the_largest_size_fits(make, shared):
    side = int(ImageLimits().max_pixels ** 0.5)
    pixels = np.zeros((side, side, 4), np.uint8)
    pixels[::7] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # lying on its side
    data = make.picture("PNG", pixels, exif=exif, compress_level=1)
    assert shared.decode_image(data).shape == (side, side, 3)


# --- block by block ---


def test_blocks_are_those_of_the_function(make, shared, tmp_path):
    data = make.encode(make.noise(44_100, 3.3, 2), 44_100, "FLAC")
    (tmp_path / "a").write_bytes(data)
    cuts = ({}, {"block_seconds": 0.25}, {"start": np.float32(0.5), "end": 2, "block_seconds": 7})
    for source in (data, tmp_path / "a"):
        for options in cuts:
            expected = list(iter_audio(source, **options))
            blocks = list(shared.iter_audio(source, **options))
            assert [len(block) for block in blocks] == [len(block) for block in expected]
            assert all(block.dtype == np.float32 and block.flags.writeable for block in blocks)
            assert np.array_equal(np.concatenate(blocks), np.concatenate(expected))


def test_errors_of_the_beginning_and_of_the_end(make, shared, silence, tmp_path):
    (tmp_path / "cut.flac").write_bytes(make.encode(make.noise(seconds=9.0), format="FLAC")[:200_000])
    loud = make.noise(seconds=3.0)
    loud[-1] = np.nan
    cases = [
        (tmp_path / "no.wav", "media_not_found"),
        (silence(3.0), "audio_silent"),
        (tmp_path / "cut.flac", "audio_truncated"),
        (make.encode(loud, subtype="FLOAT"), "audio_not_finite"),
    ]
    shared.decode_audio(make.encode(make.tone()))
    before = shared.pid
    for source, code in cases:
        arrived: list[int] = []
        wanted: list[int] = []
        with pytest.raises(MediaError) as expected:
            wanted.extend(len(block) for block in iter_audio(source))
        with pytest.raises(MediaError) as caught:
            arrived.extend(len(block) for block in shared.iter_audio(source))
        assert (caught.value.code, str(caught.value)) == (code, str(expected.value))
        assert arrived == wanted
        assert shared.pid == before
    assert len(list(until_silent(shared.iter_audio(silence(3.0))))) == 3
    for options in ({"block_seconds": 0}, {"block_seconds": np.inf}, {"start": -1}):
        assert code_of(list, shared.iter_audio(make.encode(loud), **options)) == "config_invalid"


@linux
def test_an_iteration_has_a_child_to_itself(make, worker, silence):
    """So that nobody waits for whoever consumes slowly, not even the same thread."""
    data = make.encode(make.noise(seconds=2.0))
    first, second = worker.iter_audio(silence(60.0)), worker.iter_audio(data, block_seconds=0.5)
    assert len(next(first)) == len(next(second)) * 2
    assert len(worker._busy) == 2
    assert np.array_equal(worker.decode_audio(data), decode_audio(data))
    assert np.array_equal(np.concatenate(list(second)), decode_audio(data)[8_000:])
    assert code_of(list, first) == "audio_silent"
    assert not worker._busy


@linux
def test_a_child_goes_on_from_one_file_to_the_next(make, worker):
    data = make.encode(make.noise(seconds=2.0))
    worker.decode_audio(data)
    before = worker.pid
    for _ in range(3):
        assert len(list(worker.iter_audio(data))) == 2
        assert len(worker.decode_audio(data)) == 32_000
    assert worker.pid == before


def end_early(blocks, how: str) -> None:
    if how == "closed":
        blocks.close()
    elif how == "thrown":
        with pytest.raises(ValueError, match="mine"):
            blocks.throw(ValueError("mine"))


@linux
@pytest.mark.parametrize("how", ["closed", "forgotten", "thrown"])
def test_ending_early_ends_the_child(make, worker, silence, how):
    blocks = worker.iter_audio(silence(600.0))
    next(blocks)
    (child,) = worker._busy
    end_early(blocks, how)
    del blocks
    assert state_of(child.process.pid) is None
    assert not worker._busy
    assert len(worker.decode_audio(make.encode(make.tone()))) == 16_000


@linux
def test_a_crash_costs_one_iteration(make, worker, silence):
    blocks = worker.iter_audio(silence(600.0))
    next(blocks)
    (child,) = worker._busy
    os.kill(child.process.pid, signal.SIGSEGV)
    with pytest.raises(MediaError, match="SIGSEGV") as caught:
        list(blocks)
    assert caught.value.code == "decoder_crashed"
    assert len(list(worker.iter_audio(make.encode(make.tone())))) == 1


@linux
def test_a_crash_while_idle_costs_no_iteration(make, worker):
    worker.decode_audio(make.encode(make.tone()))
    os.kill(worker.pid, signal.SIGKILL)
    assert len(list(worker.iter_audio(make.encode(make.tone())))) == 1


@linux
def test_only_the_decoder_is_on_the_clock(silence):
    """The caller may take longer for a block than the decoder may."""
    with DecodingWorker(timeout=0.8) as worker:
        blocks = worker.iter_audio(silence(600.0), block_seconds=20.0)
        next(blocks)
        time.sleep(0.9)
        assert len(next(blocks)) == 320_000
        (child,) = worker._busy
        os.kill(child.process.pid, signal.SIGSTOP)
        assert code_of(list, blocks) == "decoder_timeout"
        assert state_of(child.process.pid) is None


@linux
def test_processor_time_is_allowed_anew_for_each_block(worker, silence):
    blocks = worker.iter_audio(silence(3600.0, 48_000), block_seconds=10.0)
    next(blocks)
    (child,) = worker._busy
    first = latest = int(limits_of(child.process.pid)["Max cpu time"][0])
    for _ in blocks:
        latest = int(limits_of(child.process.pid)["Max cpu time"][0])
        if latest > first:  # a second has been spent
            break
    assert latest > first >= 20


def memory_of(pid: int, field: str) -> float:
    """In MiB."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field)) / 1024


@linux
@pytest.mark.slow
def test_ten_hours_take_no_more_memory_than_ten_seconds(worker, silence):
    path, arrived = silence(36_000.0), 0
    assert code_of(next, worker.iter_audio(path)) == "audio_too_long"
    own, others = [], []
    for block in until_silent(worker.iter_audio(path, limits=LONG_AUDIO)):
        arrived += len(block)
        if arrived == 160_000 or arrived % (3600 * 16_000) == 0:
            (child,) = worker._busy
            own.append(memory_of(os.getpid(), "VmRSS"))
            others.append(memory_of(child.process.pid, "VmHWM"))
    assert arrived == 36_000 * 16_000
    assert len(own) == 11
    assert max(own) - own[0] < 10
    assert others[-1] - others[0] < 10


@linux
def test_closing_the_worker_ends_iterations(silence):
    worker = DecodingWorker()
    blocks = worker.iter_audio(silence(600.0))
    next(blocks)
    (child,) = worker._busy
    worker.close()
    assert state_of(child.process.pid) is None
    with pytest.raises(RuntimeError, match="closed"):
        next(blocks)
    with pytest.raises(RuntimeError, match="closed"):
        next(worker.iter_audio(silence(1.0)))
    assert not worker._busy


@linux
def test_interrupting_an_iteration_leaves_no_half_answer(make, worker, stuck):
    good = make.encode(make.tone())
    worker.decode_audio(good)
    here = threading.get_ident()
    threading.Timer(0.2, signal.pthread_kill, (here, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        next(worker.iter_audio(stuck))
    assert not worker._busy
    assert len(next(worker.iter_audio(good))) == 16_000


def test_threads_iterate_side_by_side(make, worker):
    sources = [make.encode(make.noise(seconds=2 + index / 10, seed=index)) for index in range(4)]
    answers: dict[int, np.ndarray] = {}

    def decode(index: int) -> None:
        answers[index] = np.concatenate(list(worker.iter_audio(sources[index], block_seconds=0.3)))

    threads = [threading.Thread(target=decode, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(answers[index], decode_audio(source)) for index, source in enumerate(sources))
    assert len(worker._waiting) <= 2


# --- the end ---


def test_closing_ends_the_child_and_refuses_more(make):
    worker = DecodingWorker()
    child = worker._waiting[-1].process
    worker.close()
    worker.close()
    assert child.returncode is not None
    with pytest.raises(RuntimeError, match="closed"):
        worker.decode_audio(make.encode(make.tone()))


@linux
@pytest.mark.parametrize("how", ["idle", "busy", "iterating", "forked"])
def test_no_orphan_is_left(silence, stuck, how):
    """The owner is killed, which gives it no chance to close anything."""
    script = """
        import os, sys, time
        from affetto.media.worker import DecodingWorker
        worker = DecodingWorker()
        worker._waiting[-1].await_ready()
        fork = os.fork() if sys.argv[1] == "forked" else 0  # it keeps the pipes to the child open
        if fork or sys.argv[1] != "forked":
            print(worker.pid, fork, flush=True)
        if sys.argv[1] == "busy":
            worker.decode_audio(sys.argv[2])
        if sys.argv[1] == "iterating":
            next(worker.iter_audio(sys.argv[3]))
        time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), how, str(stuck), str(silence(600.0))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as owner:
        child, fork = map(int, owner.stdout.readline().split())
        time.sleep(0.2 if how == "busy" else 0.0)
        assert state_of(child) is not None
        owner.kill()
        try:
            assert eventually(lambda: state_of(child) is None)
        finally:
            if fork:
                os.kill(fork, signal.SIGKILL)


@linux
def test_a_fork_gets_a_child_of_its_own(make):
    data = make.encode(make.tone())
    with DecodingWorker() as worker:
        worker.decode_audio(data)
        before = worker.pid
        forked = os.fork()
        if forked == 0:
            code = 1
            try:
                code = 0 if len(worker.decode_audio(data)) == 16_000 and worker.pid != before else 1
                worker.close()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 0
        assert len(worker.decode_audio(data)) == 16_000
        assert worker.pid == before


@linux
def test_interrupting_the_owner_leaves_no_half_answer(make, worker, stuck):
    good = make.encode(make.tone())
    worker.decode_audio(good)
    here = threading.get_ident()
    threading.Timer(0.2, signal.pthread_kill, (here, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        worker.decode_audio(stuck)
    assert len(worker.decode_audio(good)) == 16_000


@linux
def test_the_environment_of_the_owner_is_not_handed_on(monkeypatch, make):
    monkeypatch.setenv("AFFETTO_API_KEY", "secret")
    with DecodingWorker() as worker:
        worker.decode_audio(make.encode(make.tone()))
        with open(f"/proc/{worker.pid}/environ") as file:
            assert "secret" not in file.read()


def test_modules_of_the_working_folder_are_not_run(make, tmp_path, monkeypatch):
    (tmp_path / "soundfile.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    with DecodingWorker() as worker:
        assert len(worker.decode_audio(make.encode(make.tone()))) == 16_000


# --- a child that lies ---


def message(**header) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(4, "big") + text


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\0\0",
        b"\xff\xff\xff\xff",
        b"\0\0\0\3{{{",
        b"\0\0\0\2[]",
        message(bytes=0),
        message(kind="array", shape=[1000], bytes=4000) + bytes(4000) + message(kind="done", bytes=0),
        message(kind="array", shape=[4], bytes=-1),
        message(kind="array", shape=[2, 2], bytes=16) + bytes(16) + message(kind="done", bytes=0),
        message(kind="array", shape="four", bytes=16) + bytes(16) + message(kind="done", bytes=0),
        message(kind="array", shape=[3], bytes=3) + bytes(3) + message(kind="done", bytes=0),
        message(kind="error", family="MediaError", code="os.system", message="x", bytes=0),
        b"\0\0\xff\xff" + b"[" * 0xFFFF,
    ],
)
def test_nonsense_is_not_believed(said):
    with pytest.raises(BROKEN_OFF):
        collect(io.BytesIO(said), Expected(np.float32, 1, most=100, piece=100))


def test_an_honest_answer_is_joined():
    pipe = io.BytesIO()
    for part in (np.arange(3, dtype=np.float32), np.arange(3, 5, dtype=np.float32)):
        send(pipe, {"kind": "array", "shape": part.shape}, part)
    send(pipe, {"kind": "done"})
    pipe.seek(0)
    expected = Expected(np.float32, 1, most=20, piece=12)
    assert np.array_equal(collect(pipe, expected), np.arange(5, dtype=np.float32))


def test_no_piece_is_larger_than_was_asked_for():
    expected = Expected(np.uint8, 3, most=1000, piece=24)
    for shape, left in (((2, 4, 3), 23), ((2, 5, 3), 1000), ((2, 3, 4), 1000), ((-2, -4, 3), 1000)):
        count = abs(int(np.prod(shape)))
        pipe = io.BytesIO(message(kind="array", shape=shape, bytes=count, seconds=1.5) + bytes(count))
        with pytest.raises(ValueError, match="asked for"):
            receive_piece(pipe, expected, left)
    pipe = io.BytesIO(message(kind="array", shape=[2, 4, 3], bytes=24, seconds=1.5) + bytes(24))
    piece = receive_piece(pipe, expected, 24)
    assert (piece.array(np.uint8).shape, piece.seconds) == ((2, 4, 3), 1.5)
