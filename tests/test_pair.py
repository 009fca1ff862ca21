"""``Pair`` in both worlds: messages both ways, second peers, peers that come and go, and what a full or empty queue does."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import zmq
from pydantic import BaseModel

import zpatterns
import zpatterns.asyncio
from zpatterns import (
    AddressInUse,
    Closed,
    ConfigurationError,
    DecodeError,
    InsecureEndpointError,
    Limits,
    MessageTooLarge,
    Overloaded,
    PairRefused,
    PeerUnavailable,
    RequestTimeout,
    SocketOptions,
    WrongLoopError,
    WrongThreadError,
)
from zpatterns.wire.pair import hello

from .test_guards import in_child
from .worlds import LIMIT, fresh, in_threads, until

TRANSPORTS = ["inproc", "ipc", "tcp"]
QUICK = SocketOptions(handshake_timeout=0.3, reconnect_interval=0.02, reconnect_interval_max=0.1)


class Job(BaseModel):
    number: int


class Result(BaseModel):
    text: str


class Face:
    """One end of either world, called from threads."""

    def __init__(self, world: Any, pair: Any) -> None:
        self._world = world
        self.pair = pair
        if world.name == "asyncio":
            world.do(pair.__aenter__())

    def do(self, value: Any) -> Any:
        return self._world.do(value) if inspect.iscoroutine(value) else value

    def send(self, body: Any, **options: Any) -> None:
        self.do(self.pair.send(body, **options))

    def receive(self, **options: Any) -> Any:
        return self.do(self.pair.receive(**options))

    def ready(self, **options: Any) -> None:
        self.do(self.pair.ready(**options))

    def close(self) -> None:
        self.do(self.pair.close())

    def __iter__(self) -> Iterator[Any]:
        if self._world.name == "blocking":
            yield from self.pair
            return
        while True:
            try:
                yield self.do(self.pair.__anext__())
            except StopAsyncIteration:
                return


class Maker:
    """Makes ends, and closes them when the test is over."""

    def __init__(self, world: Any, folder: Path) -> None:
        self.world, self._folder = world, folder
        self.Pair: Any = (zpatterns if world.name == "blocking" else zpatterns.asyncio).Pair
        self.stack = ExitStack()

    def face(self, pair: Any) -> Face:
        face = Face(self.world, pair)
        self.stack.callback(face.close)
        return face

    def inproc(self, *types: Any, **options: Any) -> tuple[Face, Face]:
        left, right = self.Pair.inproc(*types, **{"timeout": LIMIT, **options})
        return self.face(left), self.face(right)

    def bind(self, endpoint: str, *types: Any, **options: Any) -> Face:
        where = fresh(endpoint, self._folder) if endpoint in TRANSPORTS else endpoint
        return self.face(self.Pair.bind(where, *types, **{"timeout": LIMIT, "options": QUICK, **options}))

    def connect(self, endpoint: str, *types: Any, **options: Any) -> Face:
        return self.face(self.Pair.connect(endpoint, *types, **{"timeout": LIMIT, "options": QUICK, **options}))

    def both(self, transport: str, *types: Any, **options: Any) -> tuple[Face, Face]:
        one = self.bind(transport, *types, **options)
        return one, self.connect(one.pair.endpoint, *types, **options)


@pytest.fixture
def make(world: Any, tmp_path: Path) -> Iterator[Maker]:
    maker = Maker(world, tmp_path)
    with maker.stack:
        yield maker


# -- messages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_both_ways(make: Maker, transport: str) -> None:
    one = make.bind(transport, send=Job, receive=Result)
    other = make.connect(one.pair.endpoint, send=Result, receive=Job)
    assert "*" not in one.pair.endpoint
    for number in range(10):
        one.send(Job(number=number))
        assert other.receive() == Job(number=number)
        other.send(Result(text=str(number)))
        assert one.receive() == Result(text=str(number))
    assert one.pair.connected
    assert other.pair.connected
    assert (one.pair.statistics.sent, one.pair.statistics.received, one.pair.statistics.missed) == (10, 10, 0)


def test_inproc(make: Maker) -> None:
    left, right = make.inproc(Job, Result)
    left.send(Job(number=1))
    assert right.receive() == Job(number=1)
    right.send(Result(text="one"))
    assert left.receive() == Result(text="one")
    one, other = make.inproc(bytes)
    one.send(b"x" * 200_000)  # a frame that is not copied
    assert other.receive() == b"x" * 200_000


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_many_in_flight_in_order(make: Maker, transport: str) -> None:
    one, other = make.both(transport, int)

    def work(who: int) -> None:
        mine = (one, other)[who % 2]
        if who < 2:
            for number in range(5000):
                mine.send(number)
        else:
            assert [mine.receive() for _ in range(5000)] == list(range(5000))

    in_threads(4, work)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_end_that_connects_may_be_first(make: Maker, transport: str, tmp_path: Path) -> None:
    if transport == "tcp":
        first = make.bind("tcp", int)
        endpoint = first.pair.endpoint
        first.close()
    else:
        endpoint = fresh(transport, tmp_path)
    other = make.connect(endpoint, int)
    with pytest.raises(PeerUnavailable, match="no peer in time") as caught:
        other.send(1, timeout=0.1)
    assert type(caught.value) is PeerUnavailable
    one = make.bind(endpoint, int)
    other.send(2)
    assert one.receive() == 2
    one.send(3)
    assert other.receive() == 3


def test_iteration_ends_when_the_peer_is_closed(make: Maker) -> None:
    for left, right in (make.inproc(int), make.both("tcp", int)):
        got: list[int] = []
        reader = threading.Thread(target=lambda got=got, right=right: got.extend(right))
        for number in range(2000):  # more than the queues of one end hold
            if number == 1000:
                reader.start()
            left.send(number)
        left.close()
        reader.join(LIMIT)
        assert not reader.is_alive()
        assert got == list(range(2000))


def test_iteration_ends_when_the_farewell_had_to_wait_for_room(make: Maker) -> None:
    options = SocketOptions(high_water_mark=5, linger=LIMIT)
    for count in range(8, 18):  # at one of them, all are under way and nothing else fits
        left, right = make.inproc(int, options=options)
        for number in range(count):
            left.send(number)
        closer = threading.Thread(target=left.close)
        closer.start()
        machine = left.pair._pairing.machine
        until(lambda machine=machine: machine.closed or machine.queue)
        assert in_threads(1, lambda _, right=right: list(right)) == [list(range(count))]
        closer.join(LIMIT)
        assert not closer.is_alive()
        assert (left.pair.statistics.unsent, right.pair.statistics.missed) == (0, 0)


def fill_and_close(end: Face) -> list[int]:
    """Send until nothing more is taken, and leave before anybody reads; what is under way then."""
    sent = 0
    with pytest.raises(Overloaded):
        while True:
            end.send(sent, timeout=0.1)
            sent += 1
    end.close()
    statistics = end.pair.statistics
    assert (statistics.sent, statistics.sent + statistics.unsent) == (sent - 5, sent)
    return list(range(sent - 5))


def test_iteration_ends_when_the_farewell_found_no_room(make: Maker) -> None:
    """The reader comes when the other end has gone: inproc has no connection that breaks."""
    options = SocketOptions(high_water_mark=5, linger=0.05, reconnect_interval=0.02)
    for turn in (1, -1):
        left, right = make.inproc(int, options=options)[::turn]
        left.ready()
        under_way = fill_and_close(left)
        assert in_threads(1, lambda _, right=right: list(right)) == [under_way]
        with pytest.raises(PeerUnavailable, match="was closed"):
            right.send(1)


def test_over_inproc_another_takes_the_place_of_one_that_found_no_room_for_its_farewell(make: Maker) -> None:
    options = SocketOptions(high_water_mark=5, linger=0.05, reconnect_interval=0.02)
    one, other = make.both("inproc", int, options=options)
    under_way = fill_and_close(other)
    assert in_threads(1, lambda _: list(one)) == [under_way]
    other = make.connect(one.pair.endpoint, int, options=options)
    other.send(1)
    assert one.receive() == 1
    under_way = fill_and_close(one)
    one = make.bind(one.pair.endpoint, int, options=options)
    assert [other.receive() for _ in under_way] == under_way
    one.send(2)
    assert other.receive() == 2


def test_iteration_ends_when_this_end_is_closed(make: Maker) -> None:
    left, right = make.inproc(int)
    got: list[int] = []
    reader = threading.Thread(target=lambda: got.extend(right))
    reader.start()
    left.send(1)
    until(lambda: got == [1])
    right.close()
    reader.join(LIMIT)
    assert not reader.is_alive()
    assert list(right) == []


def test_iteration_without_a_peer_ends(make: Maker) -> None:
    alone = make.bind("tcp", int, timeout=0.2)
    with pytest.raises(PeerUnavailable, match="no peer"):
        next(iter(alone))


def test_iteration_waits_for_another_peer_from_when_the_last_was_lost(make: Maker) -> None:
    timeout = 0.3
    one = make.bind("tcp", int, timeout=timeout, options=SocketOptions(handshake_timeout=LIMIT))
    with zmq.Context.instance().socket(zmq.PAIR) as peer:
        peer.linger = 0
        peer.connect(one.pair.endpoint)
        peer.send_multipart(hello(b"peer", 0, b""))
        ended: list[float] = []

        def read() -> None:
            with pytest.raises(PeerUnavailable, match="no peer"):
                list(one)
            ended.append(time.monotonic())

        reader = threading.Thread(target=read)
        until(lambda: one.pair.connected)
        reader.start()
        time.sleep(2 * timeout)  # nothing comes, which is no loss
        lost = time.monotonic()
    reader.join(LIMIT)
    assert ended[0] - lost >= timeout


def test_plain_with_a_bare_socket(make: Maker) -> None:
    for transport in TRANSPORTS:
        for binds in (True, False):
            with zmq.Context.instance().socket(zmq.PAIR) as bare:
                bare.linger, bare.rcvtimeo = 0, int(LIMIT * 1000)
                if binds:
                    end = make.bind(transport, plain=True)
                    bare.connect(end.pair.endpoint)
                else:
                    endpoint = fresh(transport, make._folder)
                    bare.bind(endpoint)
                    where = endpoint if transport == "inproc" else bare.last_endpoint.decode()
                    end = make.connect(where, plain=True)
                end.send([b"two", b"frames"])
                assert bare.recv_multipart() == [b"two", b"frames"]
                end.send(b"one")
                assert bare.recv_multipart() == [b"one"]
                bare.send_multipart([b"\xc1zp", b"as it is"])
                assert end.receive() == [b"\xc1zp", b"as it is"]
                end.close()


def test_a_bare_socket_at_a_typed_end(make: Maker) -> None:
    end = make.bind("tcp", int)
    with zmq.Context.instance().socket(zmq.PAIR) as bare:
        bare.linger = 0
        bare.connect(end.pair.endpoint)
        bare.send(b"hello")
        with pytest.raises(DecodeError, match="plain=True") as caught:
            end.receive()
        assert caught.value.frames == [b"hello"]
        with pytest.raises(PeerUnavailable):
            end.send(1, timeout=0.05)
        assert end.pair.statistics.undecodable == 1


def test_bodies_of_another_type(make: Maker) -> None:
    one = make.bind("inproc", send=Job, receive=Job)
    other = make.connect(one.pair.endpoint, send=Result, receive=Result)
    with pytest.raises(TypeError, match="Job"):
        one.send(Result(text="x"))
    other.send(Result(text="x"))
    with pytest.raises(DecodeError):
        one.receive()
    other.send(Result(text="y"))
    with pytest.raises(DecodeError):
        one.receive()


def test_messages_over_the_limits(make: Maker) -> None:
    one, other = make.inproc(bytes, limits=Limits(message=1000))
    with pytest.raises(MessageTooLarge, match=r"Limits\.message"):
        one.send(b"x" * 1001)
    one.send(b"x" * 1000)
    assert len(other.receive()) == 1000
    plain = make.bind("tcp", plain=True, limits=Limits(frames=5))
    with pytest.raises(MessageTooLarge, match=r"Limits\.frames"):
        plain.send([b"x"] * 5)
    for wrong in ("text", [], ["text"], 5):
        with pytest.raises(TypeError):
            plain.send(wrong)


# -- time and room -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_peer_that_does_not_read(make: Maker, transport: str) -> None:
    options = SocketOptions(high_water_mark=5, linger=0.5)
    one, other = make.both(transport, bytes, options=options)
    sent = 0
    with pytest.raises(Overloaded, match="does not read"):
        while True:
            one.send(b"%06d" % sent + bytes(20_000), timeout=0.3)
            sent += 1
    assert sent >= 10
    began = time.monotonic()
    assert [int(other.receive()[:6]) for _ in range(sent)] == list(range(sent))
    one.send(b"room again")
    assert other.receive() == b"room again"
    assert time.monotonic() - began < LIMIT
    until(lambda: one.pair.statistics.sent == other.pair.statistics.received == sent + 1)


def test_many_wait_for_room(make: Maker) -> None:
    one, other = make.inproc(int, options=SocketOptions(high_water_mark=2))

    def work(who: int) -> Any:
        if who:
            return [one.send(100 * who + number) for number in range(50)]
        return [other.receive() for _ in range(200)]

    got = in_threads(5, work)[0]
    assert sorted(got) == sorted(100 * who + number for who in range(1, 5) for number in range(50))


def test_nothing_comes(make: Maker) -> None:
    one, other = make.inproc(int)
    other.ready()
    with pytest.raises(RequestTimeout, match="sent nothing"):
        one.receive(timeout=0.05)
    other.send(1)
    assert one.receive() == 1


def test_a_cancelled_task_loses_nothing() -> None:
    async def main() -> None:
        left, right = zpatterns.asyncio.Pair.inproc(int)
        async with left, right:
            got: list[int] = []
            for number in range(300):
                waiting = [asyncio.create_task(right.receive(timeout=LIMIT)) for _ in range(2)]
                await asyncio.sleep(0)
                await left.send(number)
                await asyncio.sleep(0.0002 * (number % 7))
                for task in waiting:
                    task.cancel()
                for task in waiting:
                    with suppress(asyncio.CancelledError):
                        got.append(await task)
            while len(got) < 300:
                got.append(await right.receive())
            assert got == list(range(300))

    asyncio.run(main())


# -- peers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_second_peer_is_refused(make: Maker, transport: str, caplog: pytest.LogCaptureFixture) -> None:
    one, first = make.both(transport, int)
    first.ready()
    second = make.connect(one.pair.endpoint, int)
    for attempt in (lambda: second.send(5), second.receive, lambda: next(iter(second))):
        with pytest.raises(PairRefused, match="another peer"):
            attempt()
    with pytest.raises(PairRefused):
        second.ready(timeout=0.05)
    assert second.pair.statistics.refused >= 1
    if transport != "inproc":  # there nobody tells the bound end
        until(lambda: one.pair.statistics.refused >= 1)
        assert "one more peer has connected" in caplog.text
    assert "does not answer" in caplog.text
    first.send(1)
    assert one.receive() == 1
    one.send(2)
    assert first.receive() == 2
    first.close()
    second.ready()
    second.send(3)
    assert one.receive() == 3
    one.send(4)
    assert second.receive() == 4
    assert second.pair.statistics.received == 1


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_peers_one_after_the_other(make: Maker, transport: str) -> None:
    seen: list[bool] = []
    one = make.bind(transport, int, on_connection=seen.append)
    for number in range(10):
        other = make.connect(one.pair.endpoint, int)
        other.send(number)
        assert one.receive() == number
        other.close()
    # One that came while the last was thrown off may have had to come again.
    until(lambda: len(seen) >= 20 and seen == [True, False] * (len(seen) // 2), str(seen))
    assert one.pair.statistics.peers >= 10


def test_a_bound_end_that_comes_back(make: Maker) -> None:
    for transport in TRANSPORTS:
        one, other = make.both(transport, int)
        endpoint = one.pair.endpoint
        for number in range(3):
            one.send(number)
            assert other.receive() == number
            one.close()
            one = make.bind(endpoint, int)
        one.ready()


PEER = """
import sys, time
from zpatterns import Pair, SocketOptions
pair = Pair.connect(sys.argv[1], int, timeout=20)
count = int(sys.argv[2])
for number in range(count):
    pair.send(number)
print("sent", flush=True)
time.sleep(60)
"""


def test_a_peer_that_is_killed(make: Maker) -> None:
    """What it has sent is read; another takes its place at once."""
    one = make.bind("tcp", int)
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", PEER, one.pair.endpoint, "50"], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"sent\n"
            assert [one.receive() for _ in range(50)] == list(range(50))
            process.kill()
        until(lambda: not one.pair.connected)
        with pytest.raises(PeerUnavailable, match="no peer"):
            one.receive(timeout=0.02)
    other = make.connect(one.pair.endpoint, int)
    other.send(5)
    assert one.receive() == 5


LEAVING = """
import sys
from zpatterns import Pair
pair = Pair.connect(sys.argv[1], int, timeout=20)
for number in range(300):
    pair.send(number)
"""


def test_a_peer_that_ends_without_closing(make: Maker) -> None:
    one = make.bind("tcp", int)
    with subprocess.Popen([sys.executable, "-W", "error", "-c", LEAVING, one.pair.endpoint]) as process:
        assert list(one) == list(range(300))
        assert process.wait(LIMIT) == 0
    assert one.pair.statistics.missed == 0


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_a_mute_peer_does_not_hold_the_place(make: Maker, transport: str) -> None:
    one = make.bind(transport, int)
    with zmq.Context.instance().socket(zmq.PAIR) as mute:
        mute.linger, mute.reconnect_ivl = 0, 60_000
        mute.connect(one.pair.endpoint)
        time.sleep(0.1)
        other = make.connect(one.pair.endpoint, int)
        other.ready()
        other.send(1)
        assert one.receive() == 1


def test_what_a_closed_end_has_sent_is_read(make: Maker) -> None:
    for transport in TRANSPORTS:
        one, other = make.both(transport, int)
        for number in range(500):
            one.send(number)
        one.close()
        assert one.pair.statistics.unsent == 0
        assert [other.receive() for _ in range(500)] == list(range(500))
        assert other.pair.statistics.missed == 0


def test_the_other_end_of_inproc_is_over(make: Maker) -> None:
    left, right = make.inproc(int)
    left.send(1)
    left.close()
    until(lambda: not right.pair.connected)
    assert right.receive() == 1
    for attempt in (lambda: right.send(1), right.receive, right.ready):
        with pytest.raises(PeerUnavailable, match="was closed"):
            attempt()
    assert list(right) == []


def test_close_does_not_wait_for_what_has_gone_out(make: Maker) -> None:
    """Sent a moment ago, it was on its way only when close() had looked: then close() waited for all of linger."""
    for transport in TRANSPORTS:
        for _ in range(5):
            one, other = make.both(transport, int, options=SocketOptions(linger=4 * LIMIT))
            one.send(1)
            in_threads(1, lambda _, one=one: one.close())
            assert other.receive() == 1
            in_threads(1, lambda _, other=other: other.close())


def test_what_is_sent_while_close_runs_is_sent_or_counted(make: Maker) -> None:
    for _ in range(20):
        one, other = make.inproc(int, options=SocketOptions(high_water_mark=20))
        one.ready()
        started = threading.Event()

        def work(who: int, one: Face = one, other: Face = other, started: threading.Event = started) -> int:
            if who == 0:
                return len(list(other))
            if who == 1:
                started.wait(LIMIT)
                one.close()
                return 0
            taken = 0
            with suppress(Closed):
                while True:
                    one.send(taken)
                    taken += 1
                    started.set()
            return taken

        arrived, _, *taken = in_threads(5, work)
        statistics = one.pair.statistics
        assert sum(taken) == statistics.sent + statistics.unsent
        assert arrived == statistics.sent


def test_a_message_on_its_way_to_the_loop_when_close_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = zpatterns.Pair.inproc(int, options=SocketOptions(linger=LIMIT))
    one.ready(timeout=LIMIT)
    pairing = one._pairing
    post, closed = pairing._loop.post, threading.Thread(target=one.close)

    def late(*command: Any) -> None:
        closed.start()
        with suppress(AssertionError):
            until(lambda: pairing.machine.closed, limit=0.2)  # it waits until this is done
        post(*command)

    monkeypatch.setattr(pairing._loop, "post", late)
    one.send(1)
    assert in_threads(1, lambda _: list(other)) == [[1]]
    closed.join(LIMIT)
    assert (one.statistics.sent, one.statistics.unsent) == (1, 0)
    other.close()


def test_close_takes_at_most_linger(make: Maker) -> None:
    options = SocketOptions(high_water_mark=5, linger=0.5)
    one, _ = make.both("inproc", int, options=options)
    with pytest.raises(Overloaded):
        while True:
            one.send(1, timeout=0.1)
    began = time.monotonic()
    one.close()
    assert 0.4 < time.monotonic() - began < LIMIT
    assert one.pair.statistics.unsent == 5
    make.bind("tcp", int).close()
    one.close()


# -- misuse ------------------------------------------------------------------------------------------------------------


def refused(kind: type[Exception], says: str, run: Callable[[], object]) -> None:
    with pytest.raises(kind, match=says) as caught:
        run()
    assert type(caught.value) is kind


def test_arguments(make: Maker) -> None:
    pair = make.Pair
    bad: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (ConfigurationError, "say what travels", lambda: pair.bind("ipc:///tmp/x")),
        (ConfigurationError, "say what travels", lambda: pair.bind("ipc:///tmp/x", send=int)),
        (ConfigurationError, "leave the types out", lambda: pair.bind("ipc:///tmp/x", int, plain=True)),
        (ConfigurationError, "one type for both", lambda: pair.bind("ipc:///tmp/x", int, send=str, receive=int)),
        (ConfigurationError, "one type for both", lambda: pair.bind("ipc:///tmp/x", int, str)),
        (ConfigurationError, "one type for both", pair.inproc),
        (ConfigurationError, "one type for both", lambda: pair.inproc(int, int, int)),
        (ConfigurationError, "transport", lambda: pair.bind("localhost:1", int)),
        (ConfigurationError, "write the number", lambda: pair.connect("tcp://127.0.0.1:*", int)),
        (ConfigurationError, "greater than 0", lambda: pair.inproc(int, timeout=0)),
        (ConfigurationError, "cannot be a body", lambda: pair.inproc(object())),
        (InsecureEndpointError, "Insecure", lambda: pair.bind("tcp://0.0.0.0:*", int)),
        (InsecureEndpointError, "Insecure", lambda: pair.connect("tcp://10.0.0.1:5555", int)),
    ]
    for kind, says, run in bad:
        refused(kind, says, run)
    secure: Any = zpatterns.Insecure()
    refused(
        ConfigurationError,
        "nothing comes back",
        lambda: pair.bind("epgm://127.0.0.1;239.0.0.1:5", int, security=secure),
    )
    one = make.bind("tcp", int)
    refused(AddressInUse, "in use", lambda: make.bind(one.pair.endpoint, int))
    refused(ConfigurationError, "greater than 0", lambda: one.send(1, timeout=-1.0))


def test_closed(make: Maker) -> None:
    one, _ = make.inproc(int)
    one.ready()
    one.close()
    for attempt in (lambda: one.send(1), one.receive, one.ready):
        refused(Closed, "make a new one", attempt)
    assert list(one) == []
    one.close()


def test_close_while_others_wait(make: Maker) -> None:
    one = make.bind("tcp", int)

    def work(who: int) -> None:
        if who == 3:
            time.sleep(0.1)
            one.close()
        else:
            refused(Closed, "make a new one", (one.receive, one.ready, lambda: one.send(1))[who])

    in_threads(4, work)


def test_a_context_that_is_terminated(make: Maker) -> None:
    context: zmq.Context[Any] = zmq.Context()
    one = make.bind("tcp", int, context=context)
    waiting = threading.Thread(target=lambda: refused(Closed, "make a new one", one.receive))
    waiting.start()
    in_threads(1, lambda _: context.term())
    waiting.join(LIMIT)
    assert not waiting.is_alive()
    refused(Closed, "make a new one", lambda: one.send(1))


def test_a_call_from_the_pairs_own_callback() -> None:
    said: list[str] = []

    def listen(up: bool) -> None:
        if up:
            refused(WrongThreadError, "wait for itself", lambda: pair.receive(timeout=1.0))
            said.append("refused")

    with (
        zpatterns.Pair.bind("inproc://own-callback", int, on_connection=listen) as pair,
        zpatterns.Pair.connect("inproc://own-callback", int) as other,
    ):
        other.ready(timeout=LIMIT)
        until(lambda: said == ["refused"])


def test_a_callback_that_raises(make: Maker, caplog: pytest.LogCaptureFixture) -> None:
    def listen(up: bool) -> None:
        raise ValueError(up)

    one, other = make.both("tcp", int, on_connection=listen)
    one.send(1)
    assert other.receive() == 1
    until(lambda: caplog.text.count("on_connection raised") >= 2)


def test_after_fork() -> None:
    left, right = zpatterns.Pair.inproc(int)
    with left, right:
        left.ready()
        said = in_child(lambda: left.send(1), left.receive, left.ready, lambda: next(left), left.close)
        assert [line.split(":")[0] for line in said] == ["ForkedError"] * 4 + ["nothing"]
        left.send(1)
        assert right.receive() == 1


def test_other_loops() -> None:
    async def main() -> None:
        left, right = zpatterns.asyncio.Pair.inproc(int)
        async with left, right:
            await left.send(1)

            def elsewhere(_: int) -> None:
                refused(WrongLoopError, "one for each loop", lambda: asyncio.run(close(left)))

            await asyncio.to_thread(in_threads, 2, elsewhere)
            assert await right.receive() == 1

    async def close(pair: zpatterns.asyncio.Pair[int, int]) -> None:
        await pair.close()

    asyncio.run(main())
    refused(WrongLoopError, "no event loop", lambda: zpatterns.asyncio.Pair.inproc(int)[0].send(1).send(None))


def test_a_thread_and_a_loop() -> None:
    """One end of each world."""
    jobs = zpatterns.Pair.bind("inproc://thread-and-loop", send=int, receive=str, timeout=LIMIT)

    async def main() -> None:
        async with zpatterns.asyncio.Pair.connect("inproc://thread-and-loop", send=str, receive=int) as pair:
            async for number in pair:
                await pair.send(str(number))

    loop = threading.Thread(target=lambda: asyncio.run(main()))
    loop.start()
    with jobs:
        for number in range(100):
            jobs.send(number)
        assert [jobs.receive() for _ in range(100)] == [str(number) for number in range(100)]
    loop.join(LIMIT)
    assert not loop.is_alive()


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.filterwarnings("ignore:a Pair was dropped:ResourceWarning")
def test_a_loop_that_has_ended(transport: str, closed: bool, tmp_path: Path) -> None:
    """Its end still says farewell, whether it is closed then or dropped; what was sent at the last moment arrives."""
    with zpatterns.Pair.bind(fresh(transport, tmp_path), int, timeout=LIMIT) as other:

        async def main() -> zpatterns.asyncio.Pair[int, int]:
            pair = zpatterns.asyncio.Pair.connect(other.endpoint, int)
            await pair.ready(timeout=LIMIT)
            await pair.send(1)
            return pair

        pair = asyncio.run(main())
        if closed:
            asyncio.run(pair.close())
        assert (pair.statistics.unsent, pair.statistics.sent) == (0, 1)
        del pair
        assert in_threads(1, lambda _: list(other)) == [[1]]


def test_abandoned() -> None:
    """Nothing of it stays: no thread, no address."""
    for _ in range(3):
        pair = zpatterns.Pair.bind("inproc://abandoned", int)
        del pair
        until(lambda: not any("abandoned" in thread.name for thread in threading.enumerate()))

    async def main() -> None:
        zpatterns.asyncio.Pair.bind("inproc://abandoned", int)
        await asyncio.sleep(0)
        pair = zpatterns.asyncio.Pair.bind("inproc://abandoned", int)
        with pytest.raises(PeerUnavailable):
            await pair.send(1, timeout=0.01)
        del pair
        async with zpatterns.asyncio.Pair.bind("inproc://abandoned", int):
            pass

    with pytest.warns(ResourceWarning, match="a Pair was dropped"):
        asyncio.run(main())


EXIT = """
from zpatterns import Pair
left, right = Pair.inproc(int)
left.send(1)
other = Pair.connect("tcp://127.0.0.1:1", int)
"""


def test_the_interpreter_ends(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", EXIT], check=True, timeout=LIMIT)
