"""Queues: the calls of one worker in order, each with a deadline, and each can be cancelled."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.worker import Worker, WorkerDied
from vitc_inspect.stem.run_time import duration

MOST_WAITING = 200
"""The most calls that wait in one queue; a further one is refused."""

_LOOK_EVERY = 0.25  # seconds between two looks at how long a call runs


class RunStopped(Exception):
    """A call ended without a result; the text is a sentence for the visitor."""


class Overtaken(Exception):
    """The call took too long while others waited, and was ended."""


@dataclass(eq=False)
class Job:
    """A call that waits or runs."""

    ticket: str
    """By which its visitor can ask for it; empty for one that nobody asks for."""
    seconds: float | None
    """How long it is predicted to take; None where that is not known."""
    started: float | None = None
    """When it began (seconds of the monotonic clock); None while it waits."""
    ended_by: str = ""
    """Why it is ended early: "visitor", "deadline" or "others"; empty while it is not."""
    left_alone: bool = False
    """Whether its visitor has left."""
    freed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it is its turn."""

    @property
    def taken(self) -> float:
        """How long it has run (seconds)."""
        return 0.0 if self.started is None else monotonic() - self.started

    @property
    def left(self) -> float | None:
        """How long it is still predicted to take (seconds)."""
        return None if self.seconds is None else max(0.0, self.seconds - self.taken)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a call is."""

    ahead: int
    """Number of calls before it, the running one included; 0 when it runs itself."""
    wait: float | None
    """How long those before it are predicted to take (seconds); None where that is not known."""
    left: float | None
    """How long it is itself predicted to take still (seconds); None where that is not known."""
    taken: float
    """How long it has run (seconds)."""


class WorkerQueue:
    """One worker, whose methods are called one after another in the order of the requests."""

    def __init__(
        self,
        make: Callable[[], Any],
        *,
        deadline: float,
        subject: str = "The run",
        patience: float = math.inf,
        preload: Sequence[str] = (),
        niceness: int = 0,
        in_process: bool = False,
    ) -> None:
        """Say what the worker makes, without starting it.

        Args:
            make: Makes the object whose methods are called; picklable.
            deadline: The most that one call may take (seconds).
            subject: What a call is, for the sentence where one has no result.
            patience: How long a call may run while another waits, or after its visitor has left
                (seconds). Without a limit the latter ends it at once.
            preload, niceness: As `Worker` takes them.
            in_process: Whether the object lives in this process and cannot be ended, for tests.
        """
        self._deadline, self._patience, self._subject = deadline, patience, subject
        self._worker = Worker(make, answers=(SpecError,), preload=preload, niceness=niceness)
        self._object = make() if in_process else None
        self._jobs: list[Job] = []

    def start(self) -> None:
        """Start the worker's process ahead of the first call."""
        if self._object is None:
            self._worker.start()

    def close(self) -> None:
        """End the worker's process."""
        self._worker.kill()

    async def call(
        self,
        method: str,
        *args: Any,
        ticket: str = "",
        seconds: float | None = None,
        anew: bool = False,
    ) -> Any:
        """Call a method of the object in its turn; a task that is cancelled ends the call.

        Args:
            method: Name of the method.
            args: Its arguments, picklable as its result is.
            ticket: By which the call can be found and cancelled.
            seconds: How long it is predicted to take.
            anew: Whether it gets a new process, which nothing before it has changed.

        Raises:
            RunStopped: when it was cancelled, took longer than the deadline, ended its process,
                or when too many calls wait.
            Overtaken: when it ran longer than the patience while another call waited.
            SpecError: as the method.
            WorkerFailed: as `Worker.call`.
        """
        if len(self._jobs) > MOST_WAITING:
            busy = f"{len(self._jobs):,} runs of others wait for this server."
            raise RunStopped(f"{busy} Try again in a minute.")
        job = Job(ticket, seconds)
        self._jobs.append(job)
        try:
            await self._turn_of(job)
        except BaseException:
            self._next(job)
            raise
        running = asyncio.ensure_future(self._run(job, method, args, anew))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:  # its visitor has left; its turn goes on until it is over
            self._leave(job)
            running.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise

    def cancel(self, ticket: str) -> bool:
        """End the call with a ticket, or take it out of the queue; whether there was one."""
        found = [job for job in self._jobs if ticket and job.ticket == ticket]
        for job in found:
            self._end(job, "visitor")
        return bool(found)

    def progress(self, ticket: str) -> Progress | None:
        """How far the call with a ticket is; None where there is none."""
        job = next((job for job in self._jobs if ticket and job.ticket == ticket), None)
        if job is None:
            return None
        before = self._jobs[: self._jobs.index(job)]
        lefts = [each.left for each in before]
        return Progress(
            ahead=len(before),
            wait=None if None in lefts else sum(filter(None, lefts)),
            left=job.left,
            taken=job.taken,
        )

    async def _turn_of(self, job: Job) -> None:
        """Wait until no other call is before this one."""
        while self._jobs[0] is not job:
            job.freed.clear()
            await job.freed.wait()
            self._check(job)

    async def _run(self, job: Job, method: str, args: Sequence[Any], anew: bool) -> Any:
        """What the method returns; a call that takes too long is ended."""
        try:
            if self._object is None:
                if anew:
                    self._worker.kill()
                await asyncio.to_thread(self._worker.start)  # which may import torch first
                self._check(job)
            job.started = monotonic()
            if self._object is not None:
                return await asyncio.to_thread(getattr(self._object, method), *args)
            calling = asyncio.ensure_future(asyncio.to_thread(self._worker.call, method, *args))
            while not calling.done():
                await asyncio.wait([calling], timeout=_LOOK_EVERY)
                if job.taken > self._deadline:
                    self._end(job, "deadline")
                elif job.taken > self._patience and (job.left_alone or len(self._jobs) > 1):
                    self._end(job, "others")
            return calling.result()
        except WorkerDied as death:
            self._check(job)
            raise self._died(death) from None
        finally:
            self._next(job)

    def _next(self, job: Job) -> None:
        """Take a call out of the queue, and let the next begin."""
        self._jobs.remove(job)
        if self._jobs:
            self._jobs[0].freed.set()

    def _leave(self, job: Job) -> None:
        """End a call whose visitor has left, unless it is soon over."""
        job.left_alone = True
        if self._patience == math.inf:
            self._end(job, "visitor")

    def _end(self, job: Job, why: str) -> None:
        """End a call early."""
        if not job.ended_by:
            job.ended_by = why
            job.freed.set()
            if job.started is not None:
                self._worker.kill()

    def _check(self, job: Job) -> None:
        """Raise why a call is ended early, if it is."""
        if job.ended_by == "others":
            raise Overtaken
        if job.ended_by == "visitor":
            raise RunStopped(f"{self._subject} was cancelled.")
        if job.ended_by == "deadline":
            after = f"{self._subject} was not over after {duration(self._deadline)} and was ended."
            raise RunStopped(f"{after} Use a smaller image.")

    def _died(self, death: WorkerDied) -> RunStopped:
        """The sentence for a process that ended by itself or was killed from outside."""
        memory = " The memory may have run out: try a smaller image." if death.killed else ""
        return RunStopped(f"{self._subject} ended its process, {death.how}.{memory}")
