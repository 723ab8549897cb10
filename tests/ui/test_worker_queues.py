"""Queues: order, deadlines, cancelling, visitors that leave, and what those who wait are told."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.busy import Busy
from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.worker import WorkerFailed
from vitc_inspect.ui import worker_queues
from vitc_inspect.ui.worker_queues import Overtaken, RunStopped, WorkerQueue


@asynccontextmanager
async def queue(*, deadline: float = 60.0, **settings: Any) -> AsyncIterator[WorkerQueue]:
    made = WorkerQueue(Busy, deadline=deadline, preload=["tests.busy"], **settings)
    assert await made.call("add", 1, 2) == 3
    try:
        yield made
    finally:
        made.close()


def asynchronous(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), 100))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def begun(of: WorkerQueue, ticket: str) -> None:
    """Wait until the call with a ticket runs."""
    while not ((progress := of.progress(ticket)) and progress.taken > 0.05):
        await asyncio.sleep(0.02)


@asynchronous
async def test_calls_are_answered_in_their_order_by_one_process() -> None:
    async with queue() as of:
        order: list[int] = []

        async def called(number: int) -> None:
            await of.call("sleep", 0.05)
            order.append(number)

        await asyncio.gather(*map(called, range(5)))
        assert order == [0, 1, 2, 3, 4]
        assert await of.call("count") == 1


@asynchronous
async def test_a_call_that_runs_is_cancelled_and_the_next_one_works() -> None:
    async with queue() as of:
        running = asyncio.create_task(of.call("convolve", ticket="a"))
        await begun(of, "a")
        began = time.monotonic()
        assert of.cancel("a")
        with pytest.raises(RunStopped, match=r"^The run was cancelled\.$"):
            await running
        assert await of.call("add", 1, 2) == 3
        assert time.monotonic() - began < 10
        assert not of.cancel("a")


@asynchronous
async def test_a_call_that_waits_is_cancelled_and_the_running_one_goes_on() -> None:
    async with queue() as of:
        running = asyncio.create_task(of.call("sleep", 1.0, ticket="a"))
        await begun(of, "a")
        waiting = asyncio.create_task(of.call("count", ticket="b"))
        await asyncio.sleep(0)
        assert of.cancel("b")
        with pytest.raises(RunStopped):
            await waiting
        assert await running == "slept"
        assert await of.call("count") == 1


@asynchronous
async def test_only_the_call_of_a_ticket_is_cancelled() -> None:
    async with queue() as of:
        running = asyncio.create_task(of.call("sleep", 0.5, ticket="a"))
        await begun(of, "a")
        for other in ("", "b", "A", "a "):
            assert not of.cancel(other)
        assert await running == "slept"


@asynchronous
async def test_a_call_is_ended_at_its_deadline() -> None:
    async with queue(deadline=1.0) as of:
        with pytest.raises(RunStopped, match=r"not over after 1 s and was ended\. Use a smaller"):
            await of.call("sleep", 60)
        assert await of.call("add", 1, 2) == 3


@asynchronous
async def test_a_clock_that_jumps_ends_no_call() -> None:
    jumps = iter([1e9, -1e9, 2e9])
    with pytest.MonkeyPatch.context() as patch:
        async with queue(deadline=30.0) as of:
            patch.setattr(time, "time", lambda: next(jumps, 0.0))
            assert await of.call("sleep", 0.6) == "slept"


@asynchronous
async def test_a_visitor_that_leaves_ends_a_call_of_a_lane_for_long_ones() -> None:
    async with queue() as of:
        running = asyncio.create_task(of.call("convolve", ticket="a"))
        await begun(of, "a")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        began = time.monotonic()
        assert await of.call("count") == 0  # of a new process
        assert time.monotonic() - began < 10


@asynchronous
async def test_a_small_call_outlives_its_visitor_so_that_its_process_is_kept() -> None:
    async with queue(patience=20.0) as of:
        running = asyncio.create_task(of.call("sleep", 0.5, ticket="a"))
        await begun(of, "a")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await of.call("count") == 1


@asynchronous
async def test_a_visitor_that_leaves_while_waiting_leaves_no_gap() -> None:
    async with queue() as of:
        running = asyncio.create_task(of.call("sleep", 0.5, ticket="a"))
        await begun(of, "a")
        waiting = asyncio.create_task(of.call("add", 1, 1, ticket="b"))
        last = asyncio.create_task(of.call("count"))
        await asyncio.sleep(0)
        waiting.cancel()
        assert await last == 1
        assert await running == "slept"


@asynchronous
async def test_a_call_that_takes_too_long_gives_way_only_where_others_wait() -> None:
    async with queue(patience=0.5) as of:
        assert await of.call("sleep", 1.2) == "slept"
        long = asyncio.create_task(of.call("sleep", 60, ticket="a"))
        await begun(of, "a")
        began = time.monotonic()
        assert await of.call("add", 1, 2) == 3
        assert time.monotonic() - began < 10
        with pytest.raises(Overtaken):
            await long


@asynchronous
async def test_a_process_that_ends_is_told_in_a_sentence_and_delays_nobody() -> None:
    async with queue() as of:
        for number, says in (
            (signal.SIGSEGV, r"^The run ended its process, signal 11 \(SIGSEGV\)\.$"),
            (signal.SIGKILL, r"process, signal 9 \(SIGKILL\)\. The memory may have run out: try a"),
        ):
            crash = asyncio.create_task(of.call("signal_itself", number))
            other = asyncio.create_task(of.call("add", 1, 2))
            with pytest.raises(RunStopped, match=says):
                await crash
            assert await other == 3


@asynchronous
async def test_a_worker_killed_from_outside_in_the_middle_is_told_and_replaced() -> None:
    async with queue() as of:
        pid = await of.call("pid")
        running = asyncio.create_task(of.call("convolve", ticket="a"))
        await begun(of, "a")
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(RunStopped, match="SIGKILL"):
            await running
        assert await of.call("add", 1, 2) == 3


@asynchronous
async def test_what_a_method_raises_is_raised_and_the_queue_goes_on() -> None:
    async with queue() as of:
        refused = asyncio.create_task(of.call("refuse"))
        failed = asyncio.create_task(of.call("fail"))
        assert await of.call("add", 1, 2) == 3
        with pytest.raises(SpecError, match="it is odd"):
            await refused
        with pytest.raises(WorkerFailed, match="by nothing"):
            await failed


@asynchronous
async def test_those_who_wait_are_told_how_many_and_how_long() -> None:
    async with queue() as of:
        tasks = [
            asyncio.create_task(of.call("sleep", 1.0, ticket=ticket, seconds=seconds))
            for ticket, seconds in (("a", 5.0), ("b", 3.0), ("c", 7.0), ("d", None), ("e", 1.0))
        ]
        await begun(of, "a")
        first, third, last = (of.progress(ticket) for ticket in "ace")
        assert first
        assert third
        assert last
        assert (first.ahead, first.wait) == (0, 0.0)
        assert first.left is not None
        assert 3.0 < first.left < 5.0
        assert first.taken > 0
        assert (third.ahead, third.left, third.taken) == (2, 7.0, 0.0)
        assert third.wait is not None
        assert 6.0 < third.wait < 8.0
        assert (last.ahead, last.wait) == (4, None)
        assert of.progress("f") is of.progress("") is None
        for ticket in "edcba":
            of.cancel(ticket)
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, RunStopped) for end in ends)


@asynchronous
async def test_a_full_lane_refuses_a_further_call() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker_queues, "MOST_WAITING", 3)
        async with queue() as of:
            tasks = [asyncio.create_task(of.call("sleep", 0.2)) for _ in range(4)]
            await asyncio.sleep(0)
            with pytest.raises(RunStopped, match=r"^4 runs of others wait for this server\. Try"):
                await of.call("add", 1, 2)
            assert await asyncio.gather(*tasks) == ["slept"] * 4
            assert await of.call("add", 1, 2) == 3


@asynchronous
async def test_a_call_that_is_made_anew_gets_another_process() -> None:
    async with queue() as of:
        first = await of.call("pid")
        assert await of.call("pid") == first
        assert await of.call("pid", anew=True) != first
        assert await of.call("count", anew=True) == 0
