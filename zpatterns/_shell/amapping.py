"""Iterators of the asyncio world that a cancelled ``anext`` does not end, and the results of one ``map`` in them.

An async generator that is cancelled has ended: whoever asks it again is told that there is no more, and what it had is
lost without a word. What is iterated here keeps its state elsewhere, so a generator that ended is simply begun again.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Generic, Self, TypeVar

from ..drive.aventilating import AsyncRun, AsyncVentilator
from ..errors import Closed, ForkedError, WrongLoopError
from .loops import check_loop
from .mapping import Course

T = TypeVar("T")
_SLICE = 0.25
Begin = Callable[[], AsyncGenerator[T, None]]


class Lasting(Generic[T]):
    """Iterates what ``begin()`` makes, and begins again where an exception has ended that. Inside it stays a generator: a
    coroutine of ours for each item would cost more than the item.
    """

    def __init__(self, begin: Begin[T], end: Callable[[], None] | None = None, source: object = None) -> None:
        self._begin = begin
        self._source = source  # which closes when nobody holds it
        self._end = end
        self._items: Any = begin()  # typeshed's AsyncGenerator has no ag_frame

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[T]:
        items = self._items
        if items.ag_frame is None:
            items = self._items = self._begin()
        item: Awaitable[T] = items.__anext__()
        return item

    async def aclose(self) -> None:
        """Ask for no more. Leaving it alone does the same, a moment later."""
        await self._items.aclose()
        if self._end is not None:
            self._end()


class Feed:
    """The task that reads an async iterable of jobs, so that results are given while it waits for the next."""

    def __init__(self, ventilator: AsyncVentilator, course: Course, run: AsyncRun, jobs: AsyncIterable[Any]) -> None:
        self._ventilator = ventilator
        self._course = course
        self._run = run
        self._jobs = jobs
        self._room = asyncio.Event()
        self.task: asyncio.Future[None] | None = None

    def start(self) -> asyncio.Future[None]:
        """Begin, once."""
        if self.task is None:
            self.task = asyncio.ensure_future(self._read())
            self.task.add_done_callback(self._ended)
            self._ventilator.feeds.add(self.task)
        return self.task

    def given(self) -> None:
        """A result was given: there may be room for a job."""
        self._room.set()

    def stop(self) -> None:
        """Read no more."""
        if self.task is not None:
            self.task.cancel()

    def _ended(self, task: asyncio.Future[None]) -> None:
        self._ventilator.feeds.discard(task)
        self._run.wake()

    async def _read(self) -> None:
        async for job in self._jobs:
            self._ventilator.put(self._course.take(iter((job,))))
            while not self._course.room:
                self._room.clear()
                await self._room.wait()


class _Held:
    """Goes with the last who holds it: the iterator, or an ``anext`` under way."""


def results(
    pipeline: object,
    ventilator: AsyncVentilator,
    course: Course,
    run: AsyncRun,
    jobs: Iterable[Any] | AsyncIterable[Any],
) -> Lasting[Any]:
    """What ``map`` gives. Jobs under way are given up when it has ended, or when nobody holds it or waits for it any more."""
    held = _Held()
    feed: Feed | None = None
    if isinstance(jobs, AsyncIterable):
        feed = Feed(ventilator, course, run, jobs)
        begin: Begin[Any] = partial(_fed, held, ventilator, course, run, feed)
    else:
        begin = partial(_taken, held, ventilator, course, run, iter(jobs))
    made = Lasting(begin, partial(_end, ventilator, course, feed), pipeline)
    weakref.finalize(held, _dropped, ventilator, course, feed).atexit = False
    return made


async def _taken(
    held: _Held, ventilator: AsyncVentilator, course: Course, run: AsyncRun, jobs: Iterator[Any]
) -> AsyncGenerator[Any, None]:
    workers = ventilator.machine.workers
    more = True
    try:
        while not course.over:
            if more and course.hungry:
                _check(ventilator)
                ventilator.put(course.take(jobs))
                more = not course.room
            found = course.results()
            if found:
                course.look(len(workers))
                for result in found:
                    course.open -= 1
                    yield result
            elif not more and not course.open:
                break
            else:
                await _wait(ventilator, course, run)
    except (asyncio.CancelledError, ForkedError, WrongLoopError):
        raise  # nothing of it is lost: whoever asks again, where it belongs, goes on from here
    except BaseException:
        _end(ventilator, course, None)
        raise
    _end(ventilator, course, None)


async def _fed(
    held: _Held, ventilator: AsyncVentilator, course: Course, run: AsyncRun, feed: Feed
) -> AsyncGenerator[Any, None]:
    workers = ventilator.machine.workers
    try:
        _check(ventilator)
        while not course.over:
            feeder = feed.start()
            found = course.results()
            if found:
                course.look(len(workers))
                for result in found:
                    course.open -= 1
                    feed.given()
                    yield result
                continue
            if feeder.done() and not (ventilator.ended and feeder.cancelled()):
                feeder.result()  # what the producer raised, is raised here
                if not course.open:
                    break
            await _wait(ventilator, course, run)
    except asyncio.CancelledError:
        if feed.task is None or not feed.task.cancelled():
            raise
        _end(ventilator, course, feed)  # it was the producer that was cancelled: there will be no more
        raise
    except (ForkedError, WrongLoopError):
        raise
    except BaseException:
        _end(ventilator, course, feed)
        if feed.task is not None:
            await asyncio.gather(feed.task, return_exceptions=True)
        raise
    _end(ventilator, course, feed)


async def _wait(ventilator: AsyncVentilator, course: Course, run: AsyncRun) -> None:
    _check(ventilator)
    await run.wait(_SLICE)
    course.look(len(ventilator.machine.workers))
    if ventilator.ended and not run.ended:
        raise Closed("the pipeline was closed")


def _check(ventilator: AsyncVentilator) -> None:
    ventilator.fork.check()
    check_loop(ventilator.loop, "pipeline")


def _end(ventilator: AsyncVentilator, course: Course, feed: Feed | None) -> None:
    if not course.over:
        ventilator.cancel(course.route)
        course.end(len(ventilator.machine.workers))
        if feed is not None:
            feed.stop()


def _dropped(ventilator: AsyncVentilator, course: Course, feed: Feed | None) -> None:
    """Nobody will ask for more: on whatever thread the collector ran."""
    if not course.over:
        with suppress(RuntimeError):  # the loop was closed
            ventilator.loop.call_soon_threadsafe(_end, ventilator, course, feed)
