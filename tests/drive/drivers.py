"""Four drivers behind one face for ``test_contract.py``: the same server, the same calls; only what turns the machines differs.

A ``Driver`` has a server with the handlers of ``register`` and a client: ``call`` waits for a reply, ``start`` gives a
future, ``result`` waits for it, ``entered`` waits until so many held handlers run, ``release`` lets them answer.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Any, Self

import zpatterns
from tests.worlds import (
    ADD,
    COUNT,
    DEDUPE,
    LIMIT,
    ONCE,
    Add,
    Awaiting,
    AwaitingFace,
    Blocking,
    BlockingFace,
    Number,
    Sum,
    fresh,
    until,
)
from zpatterns import Limits, ReplyError, Retry, Status
from zpatterns._shell.calls import Maker, finish
from zpatterns._shell.handlers import rules_of
from zpatterns._shell.work import HandlerWork
from zpatterns.core.calls import Call, Part
from zpatterns.core.jobs import ALWAYS, Job, Rule
from zpatterns.core.replier import Replier
from zpatterns.core.requester import Requester
from zpatterns.drive.replying import advance, finish as hand_in
from zpatterns.drive.virtual import VirtualReplier, VirtualRequester
from zpatterns.drive.virtual_world import World
from zpatterns.testing import TestServer


def register(server: Any, hold: Callable[[], None], *, inline: bool) -> None:
    """What every driver serves."""

    @server.reply(ADD, inline=inline)
    def add(request: Add) -> Sum:
        if request.a < 0:
            raise ReplyError(Status.OUT_OF_RANGE, "a is negative", details={"field": "a"})
        return Sum(total=request.a + request.b)

    def held(request: Add) -> Sum:
        hold()
        return Sum(total=request.a + request.b)

    server.reply(ONCE)(held)
    server.reply(DEDUPE)(held)

    @server.stream(COUNT, inline=inline)
    def count(request: Number) -> Iterator[Number]:
        for value in range(request.value):
            yield Number(value=value)

    @server.plain(inline=inline)
    def plain(frames: list[bytes]) -> list[bytes]:
        return [frame.upper() for frame in frames]


class Real:
    """The blocking and the asyncio driver, on sockets or in memory."""

    def __init__(self, name: str, transport: str, folder: Path) -> None:
        self._stack = ExitStack()
        world: Any
        if name == "blocking":
            world = Blocking()
        else:
            world = Awaiting()
            self._stack.callback(world.shut)
        self._entered, self._go = threading.Semaphore(0), threading.Event()
        server = world.Server(fresh(transport, folder), threads=64)
        register(server, self._hold, inline=False)
        if transport == "memory":
            testing = TestServer(server, timeout=LIMIT)
            client = testing.__enter__() if name == "blocking" else world.do(testing.__aenter__())
            self._stack.callback(lambda: client.close() if name == "blocking" else world.do(client.close()))
            self.server: Any = testing._server
            face = BlockingFace(client) if name == "blocking" else AwaitingFace(client, world)
            close = self.server.close
            self._stack.callback(close if name == "blocking" else lambda: world.do(close()))
        else:
            self.server = self._stack.enter_context(world.serving(server))
            face = self._stack.enter_context(world.client(self.server.endpoint, timeout=LIMIT))
        self._stack.callback(self._go.set)
        self.call, self.start, self.stream, self.plain, self.close = (
            face.call,
            face.start,
            face.stream,
            face.plain,
            face.close,
        )
        self.client = face.client

    def _hold(self) -> None:
        self._entered.release()
        self._go.wait(LIMIT)

    def entered(self, count: int = 1) -> None:
        for _ in range(count):
            assert self._entered.acquire(timeout=LIMIT)

    def release(self) -> None:
        self._go.set()

    def result(self, future: Future[Any]) -> Any:
        return future.result(LIMIT)

    def until(self, condition: Callable[[], object]) -> None:
        until(condition)

    def end(self) -> None:
        self._stack.close()


class Virtual:
    """The virtual driver. A held handler is one whose answer is handed in later; waiting is letting time pass."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        server = zpatterns.ReplyServer("inproc://virtual")
        register(server, lambda: None, inline=True)
        limits = Limits()
        rules = rules_of(server._handlers)
        rules["zp.ping"] = Rule(ALWAYS)
        self._work = HandlerWork({}, limits)
        self._held: deque[Job] = deque()
        self._number_held = 0
        self._machine = Replier(rules, incarnation=b"12345678", threads=64, limits=limits)
        self.server = VirtualReplier(self.world, "server", self._machine, "server", self._handle, limits)
        self.server.statistics = self._machine.statistics  # type: ignore[attr-defined]
        client = Requester(1, prefix=b"client..", random=self.world.random.random, limits=limits)
        self.driver = VirtualRequester(self.world, "client", client, ["server"], limits)
        self.client: Any = client
        self._maker = Maker(timeout=LIMIT, retry=Retry(), limits=limits)

    def _handle(self, event: Any) -> None:
        job: Job = event if isinstance(event, Job) else event.job
        if job is not event:
            if job.application is not None and not job.done:
                if job.stopped is None:
                    advance(self._machine, job)
                else:
                    job.application.close()
                    self._machine.end(job)
        elif job.method == "zp.ping":
            self._machine.reply(job, 1, b"\xc0")
        elif job.method in (ONCE.name, DEDUPE.name):
            self._held.append(job)
            self._number_held += 1
        elif job.rule.stream:
            job.application = self._work.parts(job)
            advance(self._machine, job)
        else:
            hand_in(self._machine, job, self._work.answer(job))

    def _soon(self, call: Call) -> None:
        """From the real clock of the shell to the world's."""
        call.deadline += self.world.now - monotonic()
        call.quiet_at += self.world.now - monotonic()
        self.driver.submit(call)

    def start(self, method: Any, body: Any = None, **options: Any) -> Future[Any]:
        reply, timeout, headers = (options.pop(name, None) for name in ("reply", "timeout", "headers"))
        call, codec = self._maker.unary(method, body, reply, timeout, headers, idempotent=None, wait_for_ready=True)
        future: Future[Any] = Future()

        def end(ended: Call) -> None:
            if not future.cancelled():
                try:
                    future.set_result(finish(ended, codec))
                except Exception as error:  # noqa: BLE001  it belongs to whoever asks the future
                    future.set_exception(error)

        call.application = end
        future.add_done_callback(lambda done: self.driver.cancel(call) if done.cancelled() else None)
        self._soon(call)
        return future

    def result(self, future: Future[Any]) -> Any:
        self.until(future.done)
        return future.result(0)

    def call(self, *arguments: Any, **options: Any) -> Any:
        return self.result(self.start(*arguments, **options))

    def plain(self, body: Any, **options: Any) -> list[bytes]:
        call = self._maker.plain(body, None, "id", idempotent=False)
        ended: list[Call] = []
        call.application = ended.append
        self._soon(call)
        self.until(lambda: ended)
        return [bytes(frame) for frame in call.reply]

    def stream(self, method: Any, body: Any) -> VirtualStream:
        call, codec = self._maker.stream(method, body, None, None, None, None)
        stream = VirtualStream(self, call, codec)
        call.application = stream.hear
        self._soon(call)
        return stream

    def entered(self, count: int = 1) -> None:
        self.until(lambda: self._number_held >= count)
        self._number_held -= count

    def release(self) -> None:
        while self._held:
            job = self._held.popleft()
            self.server.post(hand_in, self._machine, job, self._work.answer(job))

    def until(self, condition: Callable[[], object]) -> None:
        over = self.world.now + 2 * LIMIT
        while not condition():
            assert self.world.now < over, condition
            self.world.run(self.world.now + 0.001)

    def close(self) -> None:
        self.driver.close()
        self.world.run(self.world.now + 0.01)

    def end(self) -> None:
        self.close()


class VirtualStream:
    """Parts of a stream in virtual time."""

    def __init__(self, driver: Virtual, call: Call, codec: Any) -> None:
        self._driver, self._call, self._codec = driver, call, codec
        self._parts: deque[Part] = deque()
        self._ended = False

    def hear(self, event: Call | Part) -> None:
        if isinstance(event, Part):
            self._parts.append(event)
        else:
            self._ended = True

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self._driver.until(lambda: self._parts or self._ended)
        if not self._parts:
            if self._call.failure is not None:
                raise self._call.failure
            raise StopIteration
        part = self._parts.popleft()
        self._driver.driver.read(self._call)
        return self._codec.decode(part.codec, part.frames[0], part.frames[1:])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._driver.driver.cancel(self._call)
