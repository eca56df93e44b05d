"""A clock that calls when something takes too long."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Clock:
    """Calls `expire`, once, when a deadline passes; `expired` says that it has.

    One thread sleeps for all deadlines: to start one for each costs as much as decoding seconds of sound. It
    sleeps on when a deadline is met, and is woken only for one that is earlier than what it sleeps for. It
    ends with `close`.
    """

    def __init__(self, expire: Callable[[], object]) -> None:
        self.expired = False
        self._expire = expire
        self._changed = threading.Condition()
        self._due = self._wakes = math.inf
        self._closed = False
        threading.Thread(target=self._watch, name="affetto-clock", daemon=True).start()

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """The block must end within so many seconds. After it, `expire` is not called for it any more."""
        with self._changed:
            self._due = time.monotonic() + seconds
            if self._due < self._wakes:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._due = math.inf

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                left = self._due - time.monotonic()
                if left <= 0:
                    self.expired, self._due = True, math.inf
                    self._expire()
                    continue
                self._wakes = self._due
                # Of an infinite or very long sleep, the longest that the platform knows.
                self._changed.wait(min(left, threading.TIMEOUT_MAX))
