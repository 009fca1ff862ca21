"""Runs coroutines at once, inside a real task, and pays for a task only when one of them has to wait.

A carrier is a task that runs coroutine after coroutine from a queue. One that finishes without waiting costs no task.
One that waits keeps its carrier, which from then on is that coroutine's task from start to end (``current_task`` never
changes under it, so ``asyncio.timeout``, task groups and anyio work); the next carrier takes over the queue.
"""

from __future__ import annotations

import asyncio
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextvars import Context, copy_context
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")


class _Gate:
    """What an idle carrier waits on. Opening it resumes the carrier now, not in the next tick of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asyncio_future_blocking = False
        self._resume: Callable[[Any], None] | None = None
        self._context: Context | None = None
        self._cancelled = False

    def __await__(self) -> Generator[Any, None, None]:
        self._asyncio_future_blocking = True  # the mark by which a task knows a future (asyncio.isfuture)
        yield self

    def add_done_callback(self, callback: Callable[[Any], None], *, context: Context) -> None:
        self._resume, self._context = callback, context

    def remove_done_callback(self, _callback: Callable[[Any], None]) -> int:
        return 0

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def result(self) -> None:
        """A task asks for the result when it is resumed."""
        if self._cancelled:
            self._cancelled = False
            raise asyncio.CancelledError

    def cancel(self, msg: Any = None) -> bool:
        """Somebody cancels an idle carrier: the end of the loop, mostly."""
        del msg
        self._cancelled = True
        if self._resume is not None:
            self._loop.call_soon(self.open)
        return True

    @property
    def waiting(self) -> bool:
        return self._resume is not None

    def open(self) -> None:
        resume, context = self._resume, self._context
        self._resume = None
        if resume is not None and context is not None:
            context.run(resume, self)


class Carriers(Generic[Job]):
    """``add`` coroutines, then ``go``: each runs at once, in a context of its own.

    ``done(job, value, error)`` hears how each ended; ``waits(job, task)`` that one has to wait, and which task to cancel.
    """

    def __init__(
        self,
        done: Callable[[Job, Any, BaseException | None], None],
        waits: Callable[[Job, asyncio.Task[None]], None],
    ) -> None:
        self._done = done
        self._waits = waits
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[Job, Coroutine[Any, Any, Any]]] = deque()
        self._gate = _Gate(self._loop)
        self._carriers: set[asyncio.Task[None]] = set()
        self._leading: asyncio.Task[None] | None = None
        self._new_leader()

    def _new_leader(self) -> None:
        carrier = self._loop.create_task(self._carry())
        self._leading = carrier
        self._carriers.add(carrier)
        carrier.add_done_callback(self._ended)

    def _ended(self, carrier: asyncio.Task[None]) -> None:
        self._carriers.discard(carrier)
        if carrier is self._leading:
            if any(not task.cancelling() for task in asyncio.all_tasks(self._loop)):
                self._new_leader()  # a handler that had ended was cancelled, which is nothing to the next one
            else:
                self._begin_no_more()  # everything is cancelled: the loop ends

    def _begin_no_more(self) -> None:
        self._leading = None
        while self._queue:
            self._queue.popleft()[1].close()

    def add(self, job: Job, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Queue a coroutine; it starts with ``go``, or after the one that is just running."""
        self._queue.append((job, coroutine))
        if self._leading is None:
            self._begin_no_more()

    def extend(self, begun: Iterable[tuple[Job, Coroutine[Any, Any, Any]]]) -> None:
        """Queue many."""
        self._queue.extend(begun)
        if self._leading is None:
            self._begin_no_more()

    def go(self) -> None:
        """Run what was added, up to the first wait of each."""
        if self._queue and self._gate.waiting:
            if asyncio.current_task() is None:
                self._gate.open()
            else:  # one task cannot run inside another
                self._loop.call_soon(self._gate.open)

    async def _carry(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        queue, done = self._queue, self._done
        while self._leading is task:
            while queue and self._leading is task:
                job, coroutine = queue.popleft()
                context = copy_context()
                try:
                    waits_for = context.run(coroutine.send, None)
                except StopIteration as stop:
                    done(job, stop.value, None)
                except BaseException as error:  # noqa: BLE001  whoever is told decides
                    done(job, None, error)
                else:
                    self._waits(job, task)
                    self._new_leader()
                    await self._rest(job, coroutine, context, waits_for)
            if self._leading is task:
                await self._gate

    @types.coroutine
    def _rest(
        self, job: Job, coroutine: Coroutine[Any, Any, Any], context: Context, waits_for: Any
    ) -> Generator[Any, Any, None]:
        """This carrier is the coroutine's task from here on: pass through what it waits for and what comes back."""
        while True:
            try:
                try:
                    value = yield waits_for
                except GeneratorExit:
                    coroutine.close()
                    raise
                except BaseException as error:  # noqa: BLE001  a cancel or a time-out: the coroutine decides
                    waits_for = context.run(coroutine.throw, error)
                else:
                    waits_for = context.run(coroutine.send, value)
            except StopIteration as stop:
                self._done(job, stop.value, None)
                return
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001
                self._done(job, None, error)
                return

    def close(self) -> None:
        """Cancel every carrier, and with it the coroutine it carries; those that never started are closed."""
        self._begin_no_more()
        for carrier in list(self._carriers):
            carrier.cancel()
