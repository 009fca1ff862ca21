"""PUSH and PULL as users see them, in both worlds and with bare peers: shares, batches, back-pressure, loss that is loud."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from pydantic import BaseModel

import zpatterns
import zpatterns.asyncio
from zpatterns import (
    Closed,
    ConfigurationError,
    DecodeError,
    Limits,
    MessageTooLarge,
    Overloaded,
    RequestTimeout,
    WrongThreadError,
)
from zpatterns.drive.flows import Pipe

from .worlds import LIMIT, Awaiting, Blocking, fresh, until


class Order(BaseModel):
    number: int


class Face:
    """One world's ends, called from a test's thread."""

    def __init__(self, world: Blocking | Awaiting, folder: Path) -> None:
        self.world, self.folder = world, folder
        self.blocking = world.name == "blocking"
        self.room: Any = zpatterns if self.blocking else zpatterns.asyncio
        self._ends: list[Any] = []

    def __call__(self, made: Any) -> Any:
        if not self.blocking:
            made = Awaited(self.world, made)
        self._ends.append(made)
        return made

    def pair(self, transport: str, item: Any, **options: Any) -> tuple[Any, Any]:
        push = self(self.room.Push.bind(fresh(transport, self.folder), item, **options))
        return push, self(self.room.Pull.connect(push.endpoint, item))

    def end(self) -> None:
        for end in self._ends:
            end.close()


class Awaited:
    """An end of the asyncio world; every method blocks."""

    def __init__(self, world: Any, end: Any) -> None:
        self.world, self.inner = world, end
        world.do(end.__aenter__())

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if name in ("endpoint", "statistics"):
            return found
        return lambda *given, **options: self.world.do(found(*given, **options))

    def __iter__(self) -> Iterator[Any]:
        items = self.inner.__aiter__()
        while True:
            try:
                yield self.world.do(items.__anext__())
            except StopAsyncIteration:
                return


@pytest.fixture
def face(world: Blocking | Awaiting, tmp_path: Path) -> Iterator[Face]:
    made = Face(world, tmp_path)
    yield made
    made.end()


@pytest.mark.parametrize("transport", ["tcp", "ipc", "inproc"])
@pytest.mark.parametrize("batch", [1, 64])
def test_typed_items_arrive_in_order(face: Face, transport: str, batch: int) -> None:
    push, pull = face.pair(transport, Order, batch=batch)
    push.send_many([Order(number=number) for number in range(500)])
    push.send(Order(number=500))
    assert [pull.receive(timeout=LIMIT).number for _ in range(501)] == list(range(501))
    assert pull.statistics.items == push.statistics.items == 501
    assert (pull.statistics.messages == 501) is (batch == 1)


def test_a_bare_pull_gets_one_frame_for_each(face: Face) -> None:
    push = face(face.room.Push.bind("tcp://127.0.0.1:*", bytes, high_water_mark=110))
    with zmq.Context() as context, context.socket(zmq.PULL) as pull:
        pull.linger = 0
        pull.connect(push.endpoint)
        push.send_many([b"%d" % number for number in range(50)])
        push.send(b"")
        for number in range(50):
            assert pull.poll(LIMIT * 1000)
            assert pull.recv_multipart() == [b"%d" % number]
        assert pull.recv_multipart() == [b""]


def test_bare_pushes_are_read_fairly(face: Face) -> None:
    pull = face(face.room.Pull.bind("tcp://127.0.0.1:*", bytes))
    with zmq.Context() as context, context.socket(zmq.PUSH) as one, context.socket(zmq.PUSH) as two:
        for socket in (one, two):
            socket.linger = 0
            socket.connect(pull.endpoint)
        for _ in range(100):
            one.send(b"one")
        for _ in range(10):
            two.send(b"two")
        time.sleep(0.05)
        got = [pull.receive(timeout=LIMIT) for _ in range(110)]
        assert got.count(b"one") == 100


def test_the_work_is_shared(face: Face) -> None:
    push, one = face.pair("tcp", Order, batch=1)
    two = face(face.room.Pull.connect(push.endpoint, Order))
    push.send(Order(number=0))
    until(lambda: _both_get_some(push, one, two))


def _both_get_some(push: Any, one: Any, two: Any) -> bool:
    push.send_many([Order(number=0), Order(number=1)])
    time.sleep(0.01)
    for pull in (one, two):
        try:
            pull.receive(timeout=0.01)
        except RequestTimeout:
            return False
    return True


def test_a_pull_that_does_not_read_holds_its_push_back(face: Face) -> None:
    limits = Limits(queue=10)
    options = {"high_water_mark": 5, "batch": 1, "limits": limits}
    push = face(face.room.Push.bind("tcp://127.0.0.1:*", bytes, **options))
    pull = face(face.room.Pull.connect(push.endpoint, bytes, high_water_mark=5, limits=limits))
    sent = 0
    with pytest.raises(Overloaded, match="not sent"):
        for sent in range(100_000):  # noqa: B007
            push.send(b"x" * 10_000, timeout=0.2)
    count = 0
    for _ in range(sent):
        assert pull.receive(timeout=LIMIT) == b"x" * 10_000
        count += 1
    push.send(b"more", timeout=LIMIT)
    assert pull.receive(timeout=LIMIT) == b"more"
    assert count == sent


def test_nobody_there(face: Face) -> None:
    push = face(face.room.Push.bind("tcp://127.0.0.1:*", bytes, limits=Limits(queue=1), timeout=0.1))
    began = time.monotonic()
    with pytest.raises(Overloaded, match="Is a Pull connected"):
        for _ in range(2):
            push.send(b"x")
    pull = face(face.room.Pull.bind("tcp://127.0.0.1:*", bytes))
    with pytest.raises(RequestTimeout):
        pull.receive(timeout=0.1)
    assert time.monotonic() - began < LIMIT


def test_messages_of_another_kind_are_errors_in_their_place(face: Face) -> None:
    typed = face(face.room.Pull.bind("tcp://127.0.0.1:*", Order))
    bare = face(face.room.Pull.bind("tcp://127.0.0.1:*", bytes))
    good = face(face.room.Push.connect(typed.endpoint, Order))
    with zmq.Context() as context, context.socket(zmq.PUSH) as push, context.socket(zmq.PUSH) as other:
        for socket, pull in ((push, typed), (other, bare)):
            socket.linger = 0
            socket.connect(pull.endpoint)
        push.send(b"bare")
        with pytest.raises(DecodeError, match="not a typed item"):
            typed.receive(timeout=LIMIT)
        push.send_multipart([b"\xc1zp\x01\x92\x29\x01", b"\xc1"])
        with pytest.raises(DecodeError):
            typed.receive(timeout=LIMIT)
        push.send_multipart([b"\xc1zp\x01\x93\x2a\x01\x02", b"\x91\x81\xa6number\x01"])
        with pytest.raises(DecodeError, match="fewer or more"):
            typed.receive(timeout=LIMIT)
        other.send_multipart([b"a", b"b"])
        with pytest.raises(DecodeError, match="one frame, not 2"):
            bare.receive(timeout=LIMIT)
    good.send(Order(number=7))
    assert typed.receive(timeout=LIMIT) == Order(number=7)
    assert (typed.statistics.undecodable, bare.statistics.undecodable) == (1, 1)


def test_large_items(face: Face) -> None:
    push, pull = face.pair("tcp", list[bytes], limits=Limits(message=2_000_000))
    for size in (10, 70_000, 1_000_000):
        push.send([b"x" * size, b"y"])
        got = pull.receive(timeout=LIMIT)
        assert [len(each) for each in got] == [size, 1]
    with pytest.raises(MessageTooLarge):
        push.send([b"x" * 3_000_000])
    with pytest.raises(TypeError):
        push.send(7)


class Point(msgspec.Struct):
    x: int
    name: str = ""


def test_structs_are_packed_together(face: Face) -> None:
    push, pull = face.pair("tcp", Point)
    points = [Point(number) for number in range(150)] + [Point(0, "x" * 5000)] * 20
    push.send_many(points)
    push.send(Point(-1))
    assert [pull.receive(timeout=LIMIT) for _ in range(171)] == [*points, Point(-1)]
    with pytest.raises(TypeError):
        push.send_many([Point(1), "no point"])


def test_iteration_ends_when_it_is_closed(face: Face) -> None:
    push, pull = face.pair("tcp", Order)
    push.send_many([Order(number=number) for number in range(3)])
    got = []
    ended = threading.Event()

    def read() -> None:
        for order in pull:
            got.append(order.number)
        ended.set()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    until(lambda: len(got) == 3)
    pull.close()
    assert ended.wait(LIMIT)
    push.close()
    with pytest.raises(Closed):
        push.send(Order(number=1))
    with pytest.raises(Closed):
        pull.receive(timeout=1.0)
    push.close()
    pull.close()


def test_a_push_may_start_before_its_pull(face: Face) -> None:
    pull = face(face.room.Pull.bind("tcp://127.0.0.1:*", bytes))
    endpoint = pull.endpoint
    pull.close()
    push = face(face.room.Push.connect(endpoint, bytes))
    push.send(b"early")
    later = face(face.room.Pull.bind(endpoint, bytes))
    assert later.receive(timeout=LIMIT) == b"early"


@pytest.mark.parametrize("kind", ["push", "pull"])
def test_a_signal_handler_may_close_it(kind: str) -> None:
    """On the thread that waits in it, of all threads."""
    end: Any = getattr(zpatterns, kind.capitalize()).bind("tcp://127.0.0.1:*", bytes)
    call = (lambda: end.send(b"x", timeout=LIMIT)) if kind == "push" else end.receive
    main = threading.get_ident()

    def waits() -> bool:
        frame = sys._current_frames()[main]
        return frame.f_code is Pipe.wait.__code__

    def handler(*_: object) -> None:
        with pytest.raises(WrongThreadError, match="signal handler"):
            call()
        end.close()

    def interrupt() -> None:
        until(waits)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    thread = threading.Thread(target=interrupt, daemon=True)
    try:
        thread.start()
        with pytest.raises(Closed, match="make a new one"):
            call()
    finally:
        signal.signal(signal.SIGUSR1, before)
    thread.join(LIMIT)
    end.close()
    with zpatterns.Pull.bind(end.endpoint, bytes):
        """The address is free again."""


@pytest.mark.parametrize("kind", ["push", "pull"])
def test_close_ends_the_wait_of_another_thread(kind: str) -> None:
    end: Any = getattr(zpatterns, kind.capitalize()).bind("tcp://127.0.0.1:*", bytes)
    call = (lambda: end.send(b"x", timeout=LIMIT)) if kind == "push" else end.receive
    refused: list[Closed] = []

    def wait() -> None:
        try:
            call()
        except Closed as error:
            refused.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    until(lambda: sys._current_frames()[thread.ident or 0].f_code is Pipe.wait.__code__)
    end.close()
    with zpatterns.Pull.bind(end.endpoint, bytes):
        thread.join(LIMIT)
    assert refused


@pytest.mark.parametrize("how", ["receive", "receive in time", "iterate"])
def test_a_context_that_is_terminated_is_no_clean_end_of_a_pull(face: Face, how: str) -> None:
    context = zmq.Context()
    pull = face(face.room.Pull.bind("tcp://127.0.0.1:*", int, context=context))
    ended: list[Any] = []

    def read() -> None:
        try:
            ended.append(list(pull) if how == "iterate" else pull.receive(timeout=LIMIT if "time" in how else None))
        except zpatterns.ZPatternsError as error:
            ended.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    term = threading.Thread(target=context.term, daemon=True)
    term.start()
    reader.join(LIMIT)
    pull.close()
    term.join(LIMIT)
    assert not term.is_alive()
    assert [type(end) for end in ended] == [Closed]
    assert "terminated" in str(ended[0]) or "context is closed" in str(ended[0])


def test_an_asyncio_push_whose_context_is_terminated_takes_no_more_and_counts_what_it_had(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        context = zmq.Context()
        push = zpatterns.asyncio.Push.connect("tcp://127.0.0.1:1", int, batch=1, context=context)
        async with push, asyncio.timeout(LIMIT):
            await push.send(0)
            await asyncio.sleep(0)
            term = threading.Thread(target=context.term, daemon=True)
            term.start()
            until(lambda: is_gone(push))  # the loop has had no turn yet: the Push does not know
            for number in (1, 2, 3):
                await push.send(number)
            with pytest.raises(Closed, match="context terminated"):
                while True:
                    await asyncio.sleep(0)
                    await push.send_many([])
            with pytest.raises(Closed, match="context terminated"):
                await push.send(4)
            await asyncio.to_thread(term.join, LIMIT)
        counted = push.statistics
        assert (counted.items, counted.messages, counted.unsent) == (4, 1, 3)
        assert "3 items were never sent" in caplog.text

    def is_gone(push: Any) -> bool:
        try:
            push._flow._pipe.writable()
        except Closed:
            return True
        return False

    asyncio.run(main())


def test_an_asyncio_push_that_waits_for_room_while_its_context_is_terminated() -> None:
    async def main() -> None:
        context = zmq.Context()
        limits, options = Limits(queue=1), zpatterns.SocketOptions(high_water_mark=1)
        push = zpatterns.asyncio.Push.bind("inproc://nobody", int, limits=limits, options=options, context=context)
        async with push, asyncio.timeout(LIMIT):
            await push.send(0)
            waiting = asyncio.ensure_future(push.send(1, timeout=LIMIT))
            await asyncio.sleep(0)
            term = asyncio.ensure_future(asyncio.to_thread(context.term))
            with pytest.raises(Closed, match="context terminated"):
                await waiting
            await term
        assert push.statistics.unsent == 1

    asyncio.run(main())


@pytest.mark.parametrize("form", [int, bytes, Point], ids=lambda form: form.__name__)
@pytest.mark.parametrize("count", [10, 70])
def test_what_came_before_its_source_failed_is_sent(face: Face, form: Any, count: int) -> None:
    made: Any = {int: int, bytes: lambda number: b"%d" % number, Point: Point}[form]
    push, pull = face.pair("tcp", form)

    def source() -> Iterator[Any]:
        for number in range(count):
            yield made(number)
        raise KeyError("the source has failed")

    with pytest.raises(KeyError):
        push.send_many(source())
    with pytest.raises(TypeError):
        push.send_many([made(count), None])
    assert [pull.receive(timeout=LIMIT) for _ in range(count + 1)] == [made(number) for number in range(count + 1)]


def test_a_first_use_opens_it_and_so_does_async_with_but_not_both() -> None:
    async def main() -> None:
        push = zpatterns.asyncio.Push.bind("tcp://127.0.0.1:*", int)
        await push.send(1)
        endpoint = push.endpoint
        pull = zpatterns.asyncio.Pull.connect(endpoint, int)
        assert await pull.receive(timeout=LIMIT) == 1
        await push.send(2)
        async with push, pull:
            assert push.endpoint == endpoint
            assert await pull.receive(timeout=LIMIT) == 2
        for end in (push, pull):
            with pytest.raises(Closed):
                await end.__aenter__()

    asyncio.run(main())


def test_times_to_wait(face: Face) -> None:
    push, pull = face.pair("tcp", int)
    for spent in (0, 0.0, -1, -0.5, float("-inf")):
        with pytest.raises(RequestTimeout):
            pull.receive(timeout=spent)
    for long in (1e9, 1e10, 1e300):
        push.send(1, timeout=long)
        push.send_many([2], timeout=long)
        assert [pull.receive(timeout=long), pull.receive(timeout=long)] == [1, 2]
    for wrong in (float("nan"), float("inf")):
        for call in (pull.receive, lambda timeout: push.send(1, timeout=timeout)):
            with pytest.raises(ConfigurationError, match="nothing waits for ever"):
                call(timeout=wrong)
    alone = face(face.room.Push.bind("tcp://127.0.0.1:*", int, limits=Limits(queue=1)))
    with pytest.raises(Overloaded):
        for _ in range(2):
            alone.send(1, timeout=-1.0)


def test_mistakes() -> None:
    for wrong in ({"batch": 0}, {"timeout": 0.0}, {"timeout": None}, {"high_water_mark": 0}):
        with pytest.raises(ConfigurationError):
            zpatterns.Push.bind("tcp://127.0.0.1:*", bytes, **wrong)
    with pytest.raises(ConfigurationError):
        zpatterns.Push.bind("tcp://10.0.0.1:5555", bytes)


@pytest.mark.parametrize("kind", ["pull", "worker"])
def test_a_receiver_that_stands_still_for_three_seconds_ends_nobody(kind: str) -> None:
    """Under load, on PULL and on DEALER (the sockets that ZMTP heartbeats abort): nothing is lost, nothing ends."""
    if kind == "pull":
        with (
            zpatterns.Push.bind("tcp://127.0.0.1:*", bytes, high_water_mark=100, timeout=LIMIT) as push,
            zpatterns.Pull.connect(push.endpoint, bytes, high_water_mark=100) as pull,
        ):
            sender = threading.Thread(target=lambda: push.send_many(b"x" * 2000 for _ in range(20_000)))
            sender.start()
            assert pull.receive(timeout=LIMIT)
            time.sleep(3.0)
            for _ in range(19_999):
                pull.receive(timeout=LIMIT)
            sender.join(LIMIT)
            assert not sender.is_alive()
        return

    async def main() -> None:
        pipeline = zpatterns.asyncio.Pipeline("tcp://127.0.0.1:*", heartbeat=zpatterns.Heartbeat(interval=0.25))

        @pipeline.stage(concurrency=2000)
        async def echo(job: bytes) -> bytes:
            if job == b"stand still":
                time.sleep(3.0)
            return job

        with zpatterns.Pipeline("tcp://127.0.0.1:*", heartbeat=zpatterns.Heartbeat(interval=0.25)) as ventilator:

            @ventilator.stage(name="echo")
            def known(job: bytes) -> bytes:
                return job

            async with pipeline.worker(ventilator.endpoint):
                jobs = [b"x" * 2000] * 2000 + [b"stand still"] + [b"x" * 2000] * 2000
                results = asyncio.to_thread(lambda: list(ventilator.map(jobs, known, window=4000)))
                assert await asyncio.wait_for(results, LIMIT * 2) == jobs

    asyncio.run(main())


def test_what_is_known_after_the_end(face: Face) -> None:
    push, pull = face.pair("tcp", int)
    push.send(1)
    assert pull.receive(timeout=LIMIT) == 1
    endpoint = push.endpoint
    push.close()
    pull.close()
    for end in (push, pull):
        assert (end.endpoint, end.statistics.items, end.statistics.unsent) == (endpoint, 1, 0)


def test_what_nobody_took_is_told_when_it_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> int:
        options = zpatterns.SocketOptions(linger=0.05, high_water_mark=1)
        async with zpatterns.asyncio.Push.connect("tcp://127.0.0.1:1", int, batch=1, options=options) as push:
            for number in range(5):
                await push.send(number)
        return push.statistics.unsent

    unsent = asyncio.run(main())
    assert unsent >= 3
    assert f"{unsent} items were never sent" in caplog.text
