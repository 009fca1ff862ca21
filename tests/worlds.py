"""Both worlds behind one face, so that one test text runs on each; and waiting for events with a limit.

The asyncio world runs on a loop in a thread of its own. Its face blocks, and that is all it adds.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel

import zpatterns
import zpatterns.asyncio
from zpatterns import Method, StreamMethod

LIMIT = 30.0
"""Seconds after which a test no longer waits. Never a measure of speed: a busy machine may take long."""
_numbers = count(1)


class Add(BaseModel):
    a: int
    b: int


class Sum(BaseModel):
    total: int


class Number(BaseModel):
    value: int


ADD = Method("calc.add", Add, Sum, idempotent=True)
ONCE = Method("calc.once", Add, Sum)
DEDUPE = Method("calc.dedupe", Add, Sum, dedupe=True)
COUNT = StreamMethod("calc.count", Number, Number)


def until(condition: Callable[[], Any], what: str = "", limit: float = LIMIT) -> None:
    """Wait until ``condition()`` holds; fail when it does not come true."""
    over = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < over, f"not within {limit} s: {what or condition}"
        time.sleep(0.002)


def in_threads(count_: int, work: Callable[[int], Any], limit: float = LIMIT) -> list[Any]:
    """Run ``work(i)`` in so many threads at once; their results, or the first exception."""
    results: list[Any] = [None] * count_
    start = threading.Barrier(count_)

    def run(number: int) -> None:
        try:
            start.wait(limit)
            results[number] = work(number)
        except BaseException as error:  # noqa: BLE001  raised again below
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count_)]
    for thread in threads:
        thread.start()
    over = time.monotonic() + limit
    for thread in threads:
        thread.join(max(0.0, over - time.monotonic()))
    hung = [thread.name for thread in threads if thread.is_alive()]
    assert not hung, f"{len(hung)} threads hang"
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def fresh(transport: str, folder: Path) -> str:
    """An endpoint to bind that nobody has."""
    number = next(_numbers)
    return {"inproc": f"inproc://test-{number}", "ipc": f"ipc://{folder}/s{number}"}.get(transport, "tcp://127.0.0.1:*")


class Blocking:
    """The blocking world."""

    name = "blocking"
    Client = zpatterns.RequestClient
    Server = zpatterns.ReplyServer

    @contextmanager
    def serving(self, server: Any) -> Iterator[Any]:
        """A started server; closed at the end."""
        with server:
            yield server

    @contextmanager
    def client(self, *endpoints: Any, **options: Any) -> Iterator[BlockingFace]:
        """A client; closed at the end."""
        with zpatterns.RequestClient(*endpoints, **options) as client:
            yield BlockingFace(client)


class BlockingFace:
    """What tests call."""

    def __init__(self, client: zpatterns.RequestClient) -> None:
        self.client = client
        self.call: Callable[..., Any] = client.request
        self.start: Callable[..., Future[Any]] = client.submit
        self.stream: Callable[..., Any] = client.stream
        self.plain: Callable[..., Any] = client.request_plain
        self.close: Callable[[], None] = client.close


class Awaiting:
    """The asyncio world, on a loop in a thread."""

    name = "asyncio"
    Client = zpatterns.asyncio.RequestClient
    Server = zpatterns.asyncio.ReplyServer

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def do(self, coroutine: Any) -> Any:
        """Run a coroutine on the loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(LIMIT)

    def shut(self) -> None:
        """End the loop as ``asyncio.run`` does."""
        self.do(_cancel_others())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(LIMIT)
        self.loop.close()

    @contextmanager
    def serving(self, server: Any) -> Iterator[Any]:
        """A started server; closed at the end."""
        self.do(server.__aenter__())
        try:
            yield server
        finally:
            self.do(server.close())

    @contextmanager
    def client(self, *endpoints: Any, **options: Any) -> Iterator[AwaitingFace]:
        """A client; closed at the end."""
        client = zpatterns.asyncio.RequestClient(*endpoints, **options)
        face = AwaitingFace(client, self)
        try:
            yield face
        finally:
            face.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class AwaitingFace:
    """What tests call."""

    def __init__(self, client: zpatterns.asyncio.RequestClient, world: Awaiting) -> None:
        self.client = client
        self._world = world

    def start(self, *arguments: Any, **options: Any) -> Future[Any]:
        """A task; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(self.client.request(*arguments, **options), self._world.loop)

    def call(self, *arguments: Any, **options: Any) -> Any:
        return self.start(*arguments, **options).result(LIMIT)

    def plain(self, *arguments: Any, **options: Any) -> Any:
        return self._world.do(self.client.request_plain(*arguments, **options))

    def stream(self, *arguments: Any, **options: Any) -> AwaitingStream:
        async def open_() -> Any:
            return self.client.stream(*arguments, **options)

        return AwaitingStream(self._world.do(open_()), self._world)

    def close(self) -> None:
        self._world.do(self.client.close())


class AwaitingStream:
    """A stream of the asyncio world, iterated from a thread."""

    def __init__(self, stream: Any, world: Awaiting) -> None:
        self._stream = stream
        self._world = world

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return self._world.do(self._stream.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        self._world.do(self._stream.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
