"""Deadlines: what is late is told once, what is in time never."""

from __future__ import annotations

import threading
import time

from affetto.media.clock import Clock


def test_what_takes_too_long_is_told_while_it_lasts():
    called = threading.Event()
    clock = Clock(called.set)
    with clock.deadline(0.05):
        assert called.wait(5)
    assert clock.expired
    clock.close()


def test_what_ends_in_time_is_never_told():
    calls: list[float] = []
    clock = Clock(lambda: calls.append(time.monotonic()))
    for _ in range(100):
        with clock.deadline(0.1):
            pass
    time.sleep(0.2)
    assert not calls
    assert not clock.expired
    clock.close()


def test_an_earlier_deadline_wakes_the_clock_from_a_longer_sleep():
    called = threading.Event()
    clock = Clock(called.set)
    with clock.deadline(60.0):
        pass
    with clock.deadline(0.05):
        assert called.wait(5)
    clock.close()


def test_a_later_deadline_outlives_the_sleep_for_an_earlier_one():
    called = threading.Event()
    clock = Clock(called.set)
    with clock.deadline(0.05):
        pass
    with clock.deadline(0.3):
        assert not called.wait(0.15)
        assert called.wait(5)
    clock.close()


def test_closed_it_leaves_no_thread():
    before = {*threading.enumerate()}  # decoders of other tests have clocks too
    clock = Clock(lambda: None)
    (thread,) = {*threading.enumerate()} - before
    clock.close()
    thread.join(5)
    assert not thread.is_alive()
