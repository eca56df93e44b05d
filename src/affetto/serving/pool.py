"""Workers and who waits for them: a bounded queue, deadlines, replacement, reload.

One worker answers one call at a time. Whoever finds none free waits in one line, in which clients take turns,
so that one who asks for much does not make the others wait; a client's own requests are first come, first
served, but for those that are long: where there are two workers or more, long calls leave one of them to the
short ones. A stream waits in the same line for the one worker that holds its session. Work whose client left,
or whose deadline passed, leaves the line and never reaches a worker. What a worker has begun is let finish: it
is milliseconds, and killing it would cost a start. One that does not finish in time is killed and replaced.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from affetto.errors import AffettoError, ServingError
from affetto.serving.calls import Call, Reply
from affetto.serving.limits import Limits
from affetto.serving.metrics import Metrics
from affetto.serving.workers import Worker, WorkerDied

_log = logging.getLogger("affetto.serving")
T = TypeVar("T")

_FIRST_DELAY, _LONGEST_DELAY = 0.1, 10.0  # seconds before a worker that keeps dying is started again
_HEALTHY_SECONDS = 10.0  # a worker that lived so long did not die of its start
_WATCHDOG_SECONDS = 1.0
#: A call with more media is a long one: 8 s of 16-bit sound at 16 kHz. By bytes, since nothing is decoded yet.
_LONG_BYTES = 2**18

#: Starts a worker whose bundle must have this sha256 (None: whatever is there).
Start = Callable[[str | None], Awaitable[Worker]]


@dataclass(eq=False)
class Member:
    """A worker of the pool. `long`: busy with a long call. `gone`: it died, or was retired by a reload and ends
    when its work has."""

    worker: Worker
    busy: bool = True
    long: bool = False
    streams: int = 0
    retired: bool = False
    gone: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False, slots=True)
class Waiting:
    """A place in the line; `turn` gets the member, `wanted` if it must be that one."""

    client: str
    wanted: Member | None
    long: bool
    turn: asyncio.Future[Member]

    def can_use(self, member: Member) -> bool:
        """Whether it still waits, and for such a member."""
        fits = not member.retired if self.wanted is None else self.wanted is member
        return fits and not self.turn.done()


class Pool:
    """`count` workers, kept alive between `start` and `stop`. Used from one event loop."""

    def __init__(self, start: Start, count: int, limits: Limits, metrics: Metrics) -> None:
        self._start_worker, self._count = start, count
        self._limits, self._metrics = limits, metrics
        self._expected: str | None = None
        #: Set before the end: what is under way is answered, nothing new is taken.
        self.draining = False
        self._members: list[Member] = []
        self._replacements: list[Worker] = []
        self._waiting: list[Waiting] = []
        self._turns: dict[str, float] = {}  # when each client had its last turn, while anybody waits
        self._keepers: list[asyncio.Task[None]] = []
        self._running: set[asyncio.Task[Any]] = set()
        self._seconds = {False: 0.03, True: 0.3}  # of work per short and per long call, moving averages
        self._reloading = asyncio.Lock()

    # --- life ---

    def start(self) -> None:
        """Begin to start the workers; does not wait for them."""
        self._keepers = [asyncio.create_task(self._keep()) for _ in range(self._count)]

    async def stop(self) -> None:
        """End the workers, after what they have begun."""
        workers = [member.worker for member in self._members] + self._replacements
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._refuse_waiting(ServingError("shutting_down", "the server is about to end: ask another one"))
        if self._running:
            await asyncio.wait(self._running, timeout=self._limits.drain_seconds)
        await asyncio.gather(*(worker.close() for worker in workers))

    @property
    def model(self) -> dict[str, Any] | None:
        """What the workers say of their model; None while none is ready."""
        return self._members[-1].worker.model if self._members else None

    @property
    def live(self) -> int:
        """How many workers are ready to answer."""
        return len(self._members)

    @property
    def busy(self) -> int:
        """Calls that are being answered or wait for it."""
        return len(self._running) + len(self._waiting)

    # --- work ---

    def check_ready(self) -> None:
        """Raises ServingError not_ready, shutting_down."""
        if self.draining:
            raise ServingError("shutting_down", "the server is about to end: ask another one")
        if not self._members:
            raise ServingError("not_ready", "no worker is ready yet: ask again in a moment")

    def admit(self, client: str) -> None:
        """Refuse work that cannot be done in time, before anything is read of it.

        Raises ServingError not_ready, shutting_down, queue_full.
        """
        self.check_ready()
        self._check_queue(client)

    def _check_queue(self, client: str, long: bool = False) -> None:
        if self._has_room(long) and any(not member.busy for member in self._members):
            return
        line = [one for one in self._waiting if one.long == long or self.live < 2]
        counts = Counter(one.client for one in line)
        own = counts.pop(client, 0)
        ahead = own + sum(min(count, own + 1) for count in counts.values())  # as clients take turns
        seconds = ahead * sum(self._seconds[one.long] for one in line) / max(len(line), 1)
        if ahead >= self._limits.queue or seconds > self._limits.queue_seconds * max(self.live - long, 1):
            raise ServingError(
                "queue_full", f"{ahead} requests would be answered before: ask again in a moment"
            )

    async def ask(
        self, call: Call, deadline: float, client: str, wanted: Member | None = None
    ) -> tuple[Reply, str]:
        """The reply to a call, and the sha256 of the model that gave it. `deadline` is of the loop's clock;
        `client` takes turns with the others; `wanted` is the only member that can answer, where there is such
        a one.

        Raises ServingError queue_full, deadline_exceeded, worker_died, shutting_down, and what
        answering raises.
        """
        long = wanted is None and sum(map(len, call.blobs)) > _LONG_BYTES
        if wanted is None:
            self._check_queue(client, long)
        loop = asyncio.get_running_loop()
        began = loop.time()
        member = await self._turn(deadline, client, wanted, long)
        self._metrics.stage("queue", loop.time() - began)
        task = self._keep_running(self._work(member, call))
        try:
            async with asyncio.timeout_at(deadline):
                reply = await asyncio.shield(task)
        except TimeoutError:
            raise _too_late() from None
        except WorkerDied:
            raise ServingError(
                "worker_died", "the worker died while it answered this: if it does so again, leave it out"
            ) from None
        if "error" in reply.facts:
            raise AffettoError(reply.facts["error"], reply.facts["message"])
        return reply, member.worker.model["model"]["sha256"]

    def bind(self) -> Member:
        """The member for a new stream: the one with the fewest. Let it go with `release`."""
        self.check_ready()
        member = min(self._members, key=lambda one: one.streams)
        member.streams += 1
        return member

    def release(self, member: Member) -> None:
        """A stream of this member has ended."""
        member.streams -= 1
        self._close_if_done(member)

    # --- reload ---

    async def reload(self) -> str:
        """Take the bundle that lies where the old one lay: workers are replaced one by one, none is missed.

        Returns its sha256. Raises what starting raises; the old workers then go on.
        """
        async with self._reloading:
            old, new = list(self._members), await self._start_worker(None)
            self._expected = sha256 = new.model["model"]["sha256"]
            for member in old[:-1]:
                self._replace(member, new)
                new = await self._start_worker(sha256)
            self._replace(old[-1] if old else None, new)
            return sha256

    def _replace(self, member: Member | None, worker: Worker) -> None:
        self._replacements.append(worker)
        if member is not None:
            member.retired = True
            member.gone.set()

    # --- keeping workers ---

    async def _keep(self) -> None:
        """Keep one worker alive: start it, wait until it dies or retires, start another."""
        delay = 0.0
        while True:
            if delay:  # else a worker that a reload retired has its successor before anybody asks
                await asyncio.sleep(delay)
            try:
                member = Member(self._replacements.pop() if self._replacements else await self._started())
            except (AffettoError, OSError) as error:
                delay = min(max(2 * delay, _FIRST_DELAY), _LONGEST_DELAY)
                code = error.code if isinstance(error, AffettoError) else "not_ready"
                _log.error("a worker could not start: %s [%s]; next try in %.1f s", error, code, delay)
                continue
            began = time.monotonic()
            self._members.append(member)
            watch = asyncio.create_task(_tell(member))
            self._give(member)
            try:
                await member.gone.wait()
            finally:
                watch.cancel()
                self._members.remove(member)
                self._offer_idle()  # with one worker left, it is for long calls too
            if member.retired:
                delay = 0.0
                self._close_if_done(member)
            else:
                lived = time.monotonic() - began
                delay = 0.0 if lived > _HEALTHY_SECONDS else min(max(2 * delay, _FIRST_DELAY), _LONGEST_DELAY)
                self._metrics.restarts.inc()
                self._refuse_waiting(_stream_lost(), member)
                _log.error("a worker died after %.1f s; it is replaced", lived)

    async def _started(self) -> Worker:
        """A new worker of the bundle that the others have, also where a reload changes that meanwhile."""
        while True:
            worker = await self._start_worker(self._expected)
            sha256 = worker.model["model"]["sha256"]
            if self._expected in (None, sha256):
                self._expected = sha256
                return worker
            await worker.close()

    def _close_if_done(self, member: Member) -> None:
        """End a retired worker as soon as it has neither work nor streams."""
        if member.retired and not member.busy and not member.streams:
            self._keep_running(member.worker.close())

    def _keep_running(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task that is not lost when whoever waits for it leaves."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # somebody may have left
        return task

    # --- the line ---

    async def _turn(self, deadline: float, client: str, wanted: Member | None, long: bool) -> Member:
        """Wait for a member (`wanted`, if it must be that one) until the deadline; it is then the caller's."""
        for member in self._members if wanted is None else [wanted]:
            if member.worker.left.is_set() and member is wanted:
                raise _stream_lost()
            if not member.busy and self._has_room(long):
                member.busy, member.long = True, long
                return member
        turn: asyncio.Future[Member] = asyncio.get_running_loop().create_future()
        place = Waiting(client, wanted, long, turn)
        self._waiting.append(place)
        try:
            async with asyncio.timeout_at(deadline):
                return await turn
        except (TimeoutError, asyncio.CancelledError) as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give(turn.result())  # the turn came at the same moment
            if isinstance(error, asyncio.CancelledError):
                raise
            self._metrics.expired.inc()
            raise _too_late() from None
        finally:
            self._waiting.remove(place)
            if not self._waiting:
                self._turns.clear()

    def _give(self, member: Member) -> None:
        """Give a free member to the first in line of the client whose last turn is longest ago."""
        if member.worker.left.is_set():
            return
        had_long, member.long = member.long, False
        places = [place for place in self._waiting if place.can_use(member) and self._has_room(place.long)]
        if not places:
            member.busy = False
            self._close_if_done(member)
            return
        place = min(places, key=lambda place: self._turns.get(place.client, 0))
        self._turns[place.client] = time.monotonic()
        member.busy, member.long = True, place.long
        place.turn.set_result(member)
        if had_long:  # another long call may begin
            self._offer_idle()

    def _offer_idle(self) -> None:
        for member in self._members:
            if not member.busy:
                self._give(member)

    def _has_room(self, long: bool) -> bool:
        """Whether a call may take a worker that is free."""
        return not long or sum(member.long for member in self._members) < max(self.live - 1, 1)

    def _refuse_waiting(self, error: ServingError, member: Member | None = None) -> None:
        """Tell those in line for a member (None: all) that it will not answer."""
        for place in self._waiting:
            if not place.turn.done() and (member is None or place.wanted is member):
                place.turn.set_exception(error)

    async def _work(self, member: Member, call: Call) -> Reply:
        loop = asyncio.get_running_loop()
        began, long = loop.time(), member.long
        watchdog = loop.call_later(self._limits.answer_seconds + _WATCHDOG_SECONDS, member.worker.kill)
        try:
            reply = await member.worker.ask(call)
        finally:
            watchdog.cancel()
            self._give(member)
        took = loop.time() - began
        self._seconds[long] += 0.1 * (took - self._seconds[long])
        for stage, seconds in {"work": took, **reply.facts.get("seconds", {})}.items():
            self._metrics.stage(stage, seconds)
        return reply


async def _tell(member: Member) -> None:
    await member.worker.left.wait()
    member.gone.set()


def _too_late() -> ServingError:
    return ServingError(
        "deadline_exceeded", "no answer in the time given: ask again, or give it more timeout_ms"
    )


def _stream_lost() -> ServingError:
    return ServingError("worker_died", "the worker of this stream died: begin another stream")
