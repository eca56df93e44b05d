"""The pool alone: order, deadlines, retirement, with workers that do as they are told."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import groupby, pairwise

import pytest

from affetto.errors import ServingError
from affetto.serving.calls import Call, Reply
from affetto.serving.limits import Limits
from affetto.serving.metrics import Metrics
from affetto.serving.pool import Pool
from affetto.serving.workers import WorkerDied


class Puppet:
    """A worker that answers when it is let, with its own name."""

    def __init__(self, name: str) -> None:
        self.model = {"model": {"sha256": name}, "labels": []}
        self.left = asyncio.Event()
        self.let = asyncio.Event()
        self.asked: list[str] = []
        self.closed = False

    async def ask(self, call: Call) -> Reply:
        self.asked.append(call.name)
        waiting = {asyncio.create_task(event.wait()) for event in (self.let, self.left)}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        if self.left.is_set():
            raise WorkerDied
        return Reply({}, call.name.encode())

    def kill(self) -> None:
        self.left.set()

    async def close(self) -> None:
        self.closed = True
        self.left.set()


class Scene:
    """A pool of puppets; `names` are those of the bundles that the next workers open."""

    def __init__(self, count: int = 1, **limits) -> None:
        self.puppets: list[Puppet] = []
        self.name, self.refuse = "old", False
        self.pool = Pool(self.start, count, replace(Limits(), **limits), Metrics())

    async def start(self, expected: str | None) -> Puppet:
        await asyncio.sleep(0)
        if self.refuse:
            raise ServingError("not_ready", "told to fail")
        self.puppets.append(Puppet(self.name))
        return self.puppets[-1]

    async def __aenter__(self) -> Scene:
        self.pool.start()
        await settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        for puppet in self.puppets:
            puppet.let.set()
        await self.pool.stop()

    def ask(
        self, name: str, seconds: float = 5.0, wanted=None, client: str = "one", long: bool = False
    ) -> asyncio.Task:
        deadline = asyncio.get_running_loop().time() + seconds
        call = Call(name, blobs=(bytes(2**20),) if long else ())
        return asyncio.create_task(self.pool.ask(call, deadline, client, wanted))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)


def scenario(function):
    """Run a coroutine as a test."""

    def test() -> None:
        asyncio.run(asyncio.wait_for(function(), 20))

    test.__name__, test.__doc__ = function.__name__, function.__doc__
    return test


@scenario
async def test_first_come_first_served():
    async with Scene() as scene:
        (puppet,) = scene.puppets
        tasks = [scene.ask(name) for name in "abcd"]
        await settle()
        assert puppet.asked == ["a"]
        puppet.let.set()
        replies = [await task for task in tasks]
        assert puppet.asked == list("abcd")
        assert [(reply.data, sha256) for reply, sha256 in replies] == [
            (name.encode(), "old") for name in "abcd"
        ]


@scenario
async def test_who_leaves_the_line_is_not_worked_for():
    async with Scene() as scene:
        (puppet,) = scene.puppets
        first, second, third = (scene.ask(name) for name in "abc")
        await settle()
        second.cancel()
        await settle()
        puppet.let.set()
        await first
        await third
        assert puppet.asked == ["a", "c"]


@scenario
async def test_who_leaves_at_work_frees_the_worker_when_it_is_done():
    async with Scene() as scene:
        (puppet,) = scene.puppets
        first = scene.ask("a")
        await settle()
        first.cancel()
        second = scene.ask("b")
        await settle()
        assert puppet.asked == ["a"]
        puppet.let.set()
        assert (await second)[0].data == b"b"


@scenario
async def test_deadlines_in_the_line_and_at_work():
    async with Scene() as scene:
        (puppet,) = scene.puppets
        loop = asyncio.get_running_loop()
        began = loop.time()
        at_work, waiting = scene.ask("a", 0.1), scene.ask("b", 0.05)
        for task in (at_work, waiting):
            with pytest.raises(ServingError) as caught:
                await task
            assert caught.value.code == "deadline_exceeded"
        assert loop.time() - began < 1.0
        assert puppet.asked == ["a"]


@scenario
async def test_a_line_that_is_too_long_is_refused_at_once():
    async with Scene(queue=3) as scene:
        tasks = [scene.ask(name) for name in "abcd"]
        await settle()
        with pytest.raises(ServingError) as caught:
            scene.pool.admit("one")
        assert caught.value.code == "queue_full"
        with pytest.raises(ServingError):
            await scene.ask("e")
        scene.puppets[0].let.set()
        await asyncio.gather(*tasks)
        scene.pool.admit("one")


@scenario
async def test_clients_take_turns():
    async with Scene() as scene:
        (puppet,) = scene.puppets
        tasks = [scene.ask(f"much {number}", client="much") for number in range(5)]
        await settle()
        tasks += [scene.ask(f"little {number}", client="little") for number in range(2)]
        await settle()
        puppet.let.set()
        await asyncio.gather(*tasks)
        assert puppet.asked == ["much 0", "much 1", "little 0", "much 2", "little 1", "much 3", "much 4"]


@scenario
async def test_a_client_who_fills_the_line_keeps_no_other_out():
    async with Scene(queue=6) as scene:
        tasks = [scene.ask(str(number), client="much") for number in range(7)]
        await settle()
        with pytest.raises(ServingError) as caught:
            scene.pool.admit("much")
        assert caught.value.code == "queue_full"
        for number in range(3):  # 2 x 3 would be answered before a fourth
            scene.pool.admit("little")
            tasks.append(scene.ask(f"little {number}", client="little"))
            await settle()
        with pytest.raises(ServingError):
            scene.pool.admit("little")
        scene.puppets[0].let.set()
        await asyncio.gather(*tasks)


@scenario
async def test_long_calls_leave_a_worker_to_short_ones():
    async with Scene(2) as scene:
        one, other = scene.puppets
        long = [scene.ask(f"long {number}", long=True) for number in range(2)]
        await settle()
        assert (one.asked, other.asked) == (["long 0"], [])
        other.let.set()
        await scene.ask("short", client="another")
        await settle()
        assert other.asked == ["short"]  # the second long call still waits for the first
        one.let.set()
        await asyncio.gather(*long)
        assert sorted(one.asked + other.asked) == ["long 0", "long 1", "short"]


@scenario
async def test_long_calls_that_wait_refuse_no_short_one():
    async with Scene(2) as scene:
        one, other = scene.puppets
        scene.pool._seconds = {False: 1.0, True: 1.0}
        long = [scene.ask(f"long {number}", long=True) for number in range(2)]
        await settle()
        scene.pool.admit("one")  # a worker is free
        short = [scene.ask(f"short {number}") for number in range(2)]
        await settle()
        with pytest.raises(ServingError, match="1 requests"):  # the short one, not the long one
            scene.pool.admit("one")
        for puppet in (one, other):
            puppet.let.set()
        await asyncio.gather(*long, *short)


@scenario
async def test_a_long_call_that_ends_lets_another_begin_elsewhere():
    async with Scene(2) as scene:
        one, other = scene.puppets
        long = [scene.ask("long 0", long=True)]
        await settle()
        member = next(member for member in scene.pool._members if member.worker is one)
        feed = scene.ask("feed", wanted=member)
        await settle()
        long.append(scene.ask("long 1", long=True))
        await settle()
        one.let.set()
        other.let.set()
        await asyncio.gather(*long, feed)
        assert (one.asked, other.asked) == (["long 0", "feed"], ["long 1"])


@scenario
async def test_a_stream_waits_for_no_other_worker():
    async with Scene(2) as scene:
        one, other = scene.puppets
        long = scene.ask("long", long=True)
        await settle()
        member = next(member for member in scene.pool._members if member.worker is other)
        other.let.set()
        await scene.ask("feed", wanted=member, long=True)
        one.let.set()
        await long


@scenario
async def test_the_only_worker_left_takes_long_calls():
    async with Scene(2) as scene:
        one, other = scene.puppets
        other.let.set()
        long = [scene.ask(f"long {number}", long=True) for number in range(2)]
        await settle()
        scene.refuse = True  # none replaces it
        one.kill()
        with pytest.raises(ServingError, match="died"):
            await long[0]
        await long[1]
        assert other.asked == ["long 1"]


@scenario
async def test_ten_times_the_requests_of_another_cost_it_one_turn():
    async def much(scene: Scene) -> None:
        while True:
            await scene.ask("much", client="much")

    async with Scene() as scene:
        (puppet,) = scene.puppets
        puppet.let.set()
        crowd = [asyncio.create_task(much(scene)) for _ in range(10)]
        for _ in range(50):
            await scene.ask("little", client="little")
        for task in crowd:
            task.cancel()
    between = [len(list(calls)) for name, calls in groupby(puppet.asked) if name == "much"]
    assert len(between) >= 50
    assert max(between[1:-1]) <= 2


@scenario
async def test_slow_work_shortens_the_line():
    async with Scene(queue=100, queue_seconds=0.1) as scene:
        tasks = [scene.ask(str(number)) for number in range(4)]
        await settle()
        more = scene.ask("one more")  # the line is 90 ms long, and then 120
        await settle()
        with pytest.raises(ServingError):
            await scene.ask("and another")
        scene.puppets[0].let.set()
        await asyncio.gather(*tasks, more)


@scenario
async def test_a_stream_waits_for_its_own_worker():
    async with Scene(2) as scene:
        one, two = scene.pool.bind(), scene.pool.bind()
        assert one is not two
        feeding = scene.ask("feed", wanted=one)
        await settle()
        again = scene.ask("again", wanted=one)
        other = scene.ask("other")
        await settle()
        assert one.worker.asked == ["feed"]
        assert two.worker.asked == ["other"]
        for puppet in scene.puppets:
            puppet.let.set()
        await asyncio.gather(feeding, again, other)
        assert one.worker.asked == ["feed", "again"]
        scene.pool.release(one)
        scene.pool.release(two)


@scenario
async def test_a_dead_worker_is_replaced_and_its_streams_are_told():
    async with Scene() as scene:
        member = scene.pool.bind()
        working, waiting = scene.ask("a", wanted=member), scene.ask("b", wanted=member)
        await settle()
        scene.puppets[0].kill()
        for task in (working, waiting):
            with pytest.raises(ServingError) as caught:
                await task
            assert caught.value.code == "worker_died"
        await asyncio.sleep(0.3)
        assert len(scene.puppets) == 2
        with pytest.raises(ServingError):
            await scene.ask("c", wanted=member)
        scene.puppets[1].let.set()
        assert (await scene.ask("d"))[0].data == b"d"


@scenario
async def test_workers_that_keep_dying_are_started_ever_more_slowly():
    async with Scene() as scene:
        for _ in range(160):
            await asyncio.sleep(0.005)
            if scene.pool.live:
                scene.puppets[-1].kill()
        assert 3 <= len(scene.puppets) <= 5  # after 0.1, 0.2, 0.4 s
        with pytest.raises(ServingError) as caught:
            scene.pool.check_ready()
        assert caught.value.code == "not_ready"


@scenario
async def test_starts_that_fail_back_off():
    scene = Scene()
    scene.refuse, tries = True, []
    start = scene.start

    async def counted(expected):
        tries.append(asyncio.get_running_loop().time())
        return await start(expected)

    scene.pool._start_worker = counted
    async with scene:
        await asyncio.sleep(0.8)
        assert 3 <= len(tries) <= 5
        gaps = [later - before for before, later in pairwise(tries)]
        assert gaps == sorted(gaps)
        with pytest.raises(ServingError) as caught:
            scene.pool.check_ready()
        assert caught.value.code == "not_ready"


@scenario
async def test_reload_replaces_all_and_lets_them_finish():
    async with Scene(2) as scene:
        old = list(scene.puppets)
        streaming = scene.pool.bind()
        working = scene.ask("a")
        await settle()
        scene.name = "new"
        assert await scene.pool.reload() == "new"
        await settle()
        assert scene.pool.live == 2
        busy = next(puppet for puppet in old if puppet.asked)
        assert not busy.closed
        assert not streaming.worker.closed
        for puppet in scene.puppets:
            puppet.let.set()
        assert (await working)[1] == "old"
        assert (await scene.ask("b"))[1] == "new"
        assert (await scene.ask("feed", wanted=streaming))[1] == "old"
        scene.pool.release(streaming)
        await settle()
        assert all(puppet.closed for puppet in old)


@scenario
async def test_no_reload_leaves_a_moment_without_a_worker():
    async with Scene(1) as scene:
        for number in range(5):
            scene.name = f"new {number}"
            reload = asyncio.create_task(scene.pool.reload())
            for _ in range(30):
                scene.pool.check_ready()
                await asyncio.sleep(0)
            assert scene.pool.model["model"]["sha256"] == await reload == scene.name


@scenario
async def test_a_worker_that_starts_while_the_bundle_changes_gets_the_new_one():
    async with Scene(2) as scene:
        slow, start = asyncio.Event(), scene.start

        async def started(expected: str | None) -> Puppet:
            worker = await start(expected)
            if worker.model["model"]["sha256"] == "old":
                await slow.wait()
            return worker

        scene.pool._start_worker = started
        scene.puppets[0].kill()
        await asyncio.sleep(0.15)  # its successor has opened the old bundle
        scene.name = "new"
        await scene.pool.reload()
        slow.set()
        await settle()
        assert [member.worker.model["model"]["sha256"] for member in scene.pool._members] == ["new"] * 2
        assert all(puppet.closed for puppet in scene.puppets[1:3])


@scenario
async def test_a_reload_that_fails_changes_nothing():
    async with Scene() as scene:
        scene.refuse = True
        with pytest.raises(ServingError):
            await scene.pool.reload()
        scene.puppets[0].let.set()
        assert (await scene.ask("a"))[1] == "old"


@scenario
async def test_a_worker_that_hangs_is_killed():
    async with Scene(answer_seconds=0.1) as scene:
        scene.pool._limits = replace(scene.pool._limits, answer_seconds=-0.9)  # the watchdog adds a second
        with pytest.raises(ServingError) as caught:
            await scene.ask("a")
        assert caught.value.code == "worker_died"


@scenario
async def test_stopping_refuses_who_waits_and_answers_what_is_under_way():
    async with Scene() as scene:
        working, waiting = scene.ask("a"), scene.ask("b")
        await settle()
        stopping = asyncio.create_task(scene.pool.stop())
        await settle()
        scene.puppets[0].let.set()
        assert (await working)[0].data == b"a"
        with pytest.raises(ServingError) as caught:
            await waiting
        assert caught.value.code == "shutting_down"
        await stopping
        assert scene.puppets[0].closed
