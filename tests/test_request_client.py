"""RequestClient in both worlds: how calls begin, overlap and end, and what the client says of itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, wait
from typing import Any

import pytest

from zpatterns import (
    Closed,
    ConfigurationError,
    DecodeError,
    Limits,
    MessageTooLarge,
    OutcomeUnknown,
    Overloaded,
    PeerUnavailable,
    ReplyError,
    RequestContext,
    RequestTimeout,
    Retry,
    SocketOptions,
    Status,
)

from .worlds import ADD, COUNT, DEDUPE, LIMIT, ONCE, Add, Number, Sum, in_threads, until

QUICK = SocketOptions(reconnect_interval=0.02, reconnect_interval_max=0.05)


class Calc:
    """Handlers that can be held, and what they have seen."""

    def __init__(self, world: Any, endpoint: str = "tcp://127.0.0.1:*", **options: Any) -> None:
        self.go = threading.Event()
        self.entered = threading.Semaphore(0)
        self.contexts: list[RequestContext] = []
        self.server = world.Server(endpoint, name="calc", version="1.2", **{"threads": 64, **options})
        self.server.reply(ADD)(self.add)
        self.server.reply(ONCE)(self.held)
        self.server.reply(DEDUPE)(self.add)
        self.server.stream(COUNT)(self.count)

    def add(self, request: Add) -> Sum:
        return Sum(total=request.a + request.b)

    def held(self, request: Add, ctx: RequestContext) -> Sum:
        self.contexts.append(ctx)
        self.entered.release()
        self.go.wait(LIMIT)
        return Sum(total=request.a + request.b)

    def count(self, request: Number) -> Iterator[Number]:
        for value in range(request.value):
            yield Number(value=value)


@pytest.fixture
def calc(world: Any) -> Iterator[Calc]:
    made = Calc(world)
    with world.serving(made.server):
        try:
            yield made
        finally:
            made.go.set()


def test_a_request_by_contract_and_by_name(world: Any, calc: Calc) -> None:
    with world.client(calc.server.endpoint) as client:
        assert client.call(ADD, Add(a=1, b=2)) == Sum(total=3)
        assert client.call("calc.add", {"a": 1, "b": 2}, reply=Sum) == Sum(total=3)
        assert client.call("calc.add", {"a": 1, "b": 2}) == {"total": 3}


def test_futures_end_in_any_order(world: Any, calc: Calc) -> None:
    with world.client(calc.server.endpoint) as client:
        held = client.start(ONCE, Add(a=1, b=1))
        assert calc.entered.acquire(timeout=LIMIT)
        assert client.call(ADD, Add(a=2, b=2)).total == 4
        assert not held.done()
        calc.go.set()
        assert held.result(LIMIT).total == 2


def test_cancelling_a_future_reaches_the_handler(world: Any, calc: Calc) -> None:
    with world.client(calc.server.endpoint) as client:
        future = client.start(ONCE, Add(a=1, b=1), timeout=60.0)
        assert calc.entered.acquire(timeout=LIMIT)
        assert not calc.contexts[0].cancelled
        assert future.cancel()
        with pytest.raises(CancelledError):
            future.result(LIMIT)
        until(lambda: calc.contexts[0].cancelled)
        until(lambda: client.client.statistics.cancelled == 1)


def test_64_threads_overlap(world: Any) -> None:
    """Proven by handlers that wait for each other: only if all 64 are there at once does any of them answer."""
    meet = threading.Barrier(64)
    server = world.Server("tcp://127.0.0.1:*", threads=64)

    @server.reply(ONCE)
    def meeting(request: Add) -> Sum:
        meet.wait(LIMIT)
        return Sum(total=request.a + request.b)

    with world.serving(server), world.client(server.endpoint, timeout=LIMIT) as client:
        for _ in range(3):
            totals = in_threads(64, lambda number: client.call(ONCE, Add(a=number, b=1)).total)
            assert totals == [number + 1 for number in range(64)]


def test_the_client_starts_before_its_server(world: Any) -> None:
    first = Calc(world)
    with world.serving(first.server):
        endpoint = first.server.endpoint
    with world.client(endpoint, timeout=LIMIT, options=QUICK) as client:
        future = client.start(ADD, Add(a=1, b=2))
        until(lambda: client.client.statistics.started == 1)
        second = Calc(world, endpoint)
        with world.serving(second.server):
            assert future.result(LIMIT).total == 3


def test_nobody_there(world: Any, tmp_path: Any) -> None:
    with world.client(f"ipc://{tmp_path}/nobody", options=QUICK) as client:
        with pytest.raises(PeerUnavailable, match="is it running"):
            client.call(ADD, Add(a=1, b=2), timeout=0.3)
        with pytest.raises(PeerUnavailable, match="no server is connected"):
            client.call(ADD, Add(a=1, b=2), timeout=LIMIT, wait_for_ready=False)


def test_a_server_that_is_too_slow(world: Any, calc: Calc) -> None:
    with world.client(calc.server.endpoint) as client:
        with pytest.raises(RequestTimeout, match="may have run") as caught:
            client.call(ONCE, Add(a=1, b=2), timeout=0.2)
        assert caught.value.sent
        assert isinstance(caught.value, TimeoutError)
        until(lambda: calc.server.statistics.stopped == 1)


def test_several_endpoints_of_which_one_dies(world: Any, tmp_path: Any) -> None:
    servers = [Calc(world, f"ipc://{tmp_path}/{number}") for number in range(3)]
    endpoints = [each.server.endpoint for each in servers]
    with world.serving(servers[0].server), world.serving(servers[1].server):
        with (
            world.serving(servers[2].server),
            world.client(endpoints, options=QUICK) as client,
        ):
            until(lambda: all(client.call(ADD, Add(a=1, b=1)) and [client.client.connected[e] for e in endpoints]))
            futures = [client.start(ADD, Add(a=number, b=0)) for number in range(300)]
            assert [future.result(LIMIT).total for future in futures] == list(range(300))
            assert all(each.server.statistics.answered > 50 for each in servers)
            client.close()
        with world.client(endpoints, options=QUICK) as client:
            for number in range(100):
                assert client.call(ADD, Add(a=number, b=0)).total == number
            assert client.client.connected[endpoints[2]] is False


def test_a_server_lost_with_a_call(world: Any) -> None:
    """What is neither idempotent nor dedupe is OutcomeUnknown at once, not at the deadline."""
    calc = Calc(world)
    with world.client(f"{_bound(calc, world)}", options=QUICK, timeout=60.0) as client:
        with world.serving(calc.server):
            future = client.start(ONCE, Add(a=1, b=2))
            assert calc.entered.acquire(timeout=LIMIT)
            calc.server._grace = 0.0
        calc.go.set()
        with pytest.raises((OutcomeUnknown, ReplyError)) as caught:
            future.result(LIMIT)
    if isinstance(caught.value, ReplyError):  # it could still say so
        assert caught.value.status is Status.UNAVAILABLE


def _bound(calc: Calc, world: Any) -> str:
    probe = Calc(world)
    with world.serving(probe.server):
        endpoint: str = probe.server.endpoint
    calc.server = world.Server(endpoint, threads=4)
    calc.server.reply(ONCE)(calc.held)
    return endpoint


def test_streams(world: Any, calc: Calc) -> None:
    with world.client(calc.server.endpoint) as client:
        assert [part.value for part in client.stream(COUNT, Number(value=1000))] == list(range(1000))
        assert list(client.stream(COUNT, Number(value=0))) == []
        with client.stream(COUNT, Number(value=10**6)) as parts:
            assert next(parts).value == 0
        until(lambda: calc.server.statistics.stopped == 1)
        with pytest.raises(StopIteration):
            next(parts)


def test_a_slow_reader_slows_the_server(world: Any) -> None:
    made = []
    server = world.Server("tcp://127.0.0.1:*")

    @server.stream(COUNT)
    def count(request: Number) -> Iterator[Number]:
        for value in range(request.value):
            made.append(value)
            yield Number(value=value)

    with (
        world.serving(server),
        world.client(server.endpoint, limits=Limits(credit=8)) as client,
        client.stream(COUNT, Number(value=1000)) as parts,
    ):
        assert next(parts).value == 0
        until(lambda: len(made) >= 8)
        assert len(made) <= 16 + 2
        assert [part.value for part in parts] == list(range(1, 1000))


def test_a_stream_that_falls_silent_and_one_that_takes_too_long(world: Any) -> None:
    go = threading.Event()
    server = world.Server("tcp://127.0.0.1:*")

    @server.stream(COUNT)
    def count(request: Number) -> Iterator[Number]:
        yield Number(value=0)
        go.wait(LIMIT)

    with world.serving(server), world.client(server.endpoint) as client:
        try:
            for options in ({"timeout": 0.2}, {"deadline": 0.3}):
                parts = client.stream(COUNT, Number(value=5), **options)
                assert next(parts).value == 0
                with pytest.raises(RequestTimeout):
                    next(parts)
        finally:
            go.set()


def test_an_own_queue_that_is_full(world: Any, tmp_path: Any) -> None:
    limits = Limits(queue=3)
    with world.client(f"ipc://{tmp_path}/nobody", limits=limits, timeout=60.0) as client:
        waiting = [client.start(ADD, Add(a=1, b=2)) for _ in range(3)]
        until(lambda: client.client.statistics.started == 3)
        with pytest.raises(Overloaded, match=r"Limits\.queue"):
            client.start(ADD, Add(a=1, b=2)).result(LIMIT)
        client.close()
        assert {type(future.exception(LIMIT)) for future in waiting} == {Closed}


def test_in_flight_is_bounded_and_the_rest_waits(world: Any, calc: Calc) -> None:
    with world.client(calc.server.endpoint, limits=Limits(in_flight=2), timeout=60.0) as client:
        futures = [client.start(ONCE, Add(a=number, b=0)) for number in range(6)]
        assert calc.entered.acquire(timeout=LIMIT) and calc.entered.acquire(timeout=LIMIT)
        assert calc.server.statistics.dispatched == 2
        calc.go.set()
        assert sorted(future.result(LIMIT).total for future in futures) == list(range(6))


def test_close_ends_open_calls(world: Any, calc: Calc) -> None:
    with world.client(calc.server.endpoint, timeout=60.0) as client:
        futures = [client.start(ONCE, Add(a=1, b=2)) for _ in range(5)]
        for _ in futures:
            assert calc.entered.acquire(timeout=LIMIT)
        client.close()
        assert not wait(futures, LIMIT).not_done
        assert {type(future.exception()) for future in futures} == {Closed}
        client.close()
        with pytest.raises(Closed, match="make a new one"):
            client.call(ADD, Add(a=1, b=2))


def test_a_reply_of_another_type_keeps_its_frames(world: Any, calc: Calc) -> None:
    with world.client(calc.server.endpoint) as client:
        with pytest.raises(DecodeError) as caught:
            client.call("calc.add", {"a": 1, "b": 2}, reply=Number)
        assert caught.value.frames


def test_a_request_over_the_limit_is_not_sent(world: Any, calc: Calc) -> None:
    with world.client(calc.server.endpoint, limits=Limits(message=100_000)) as client:
        with pytest.raises(MessageTooLarge, match=r"Limits\.message"):
            client.call("calc.add", b"x" * 200_000)
        assert client.client.statistics.started == 0


def test_what_the_client_hears_of_its_connections(world: Any) -> None:
    calc, heard = Calc(world), []
    endpoint = _bound(calc, world)
    calc.go.set()

    def listen(where: str, up: bool) -> None:
        heard.append((where, up))
        raise RuntimeError("a listener that fails harms nobody")

    with world.client(endpoint, options=QUICK, on_connection=listen) as client:
        with world.serving(calc.server):
            assert client.call(ONCE, Add(a=1, b=2)).total == 3
            assert client.client.connected == {endpoint: True}
        assert (endpoint, True) in heard
        with pytest.raises((PeerUnavailable, OutcomeUnknown)):
            client.call(ONCE, Add(a=1, b=2), timeout=0.3)
        assert heard[-1] == (endpoint, False)
        assert client.client.connected == {endpoint: False}
        assert client.client.statistics.disconnects == 1


def test_statistics_add_up(world: Any, calc: Calc) -> None:
    with world.client(calc.server.endpoint) as client:
        for number in range(10):
            client.call(ADD, Add(a=number, b=0))
        with pytest.raises(ReplyError):
            client.call("calc.nothing", None)
        with pytest.raises(RequestTimeout):
            client.call(ONCE, Add(a=1, b=2), timeout=0.1)
        numbers = client.client.statistics
        assert (numbers.started, numbers.answered, numbers.failed, numbers.timed_out) == (12, 10, 2, 1)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_timeouts_that_make_no_sense(world: Any, calc: Calc, timeout: float) -> None:
    with pytest.raises(ConfigurationError, match="nothing waits for ever"):
        world.Client("tcp://127.0.0.1:1", timeout=timeout)
    with world.client(calc.server.endpoint) as client:
        with pytest.raises(ConfigurationError, match="greater than 0"):
            client.call(ADD, Add(a=1, b=2), timeout=timeout)
        with pytest.raises(ConfigurationError):
            client.stream(COUNT, Number(value=1), deadline=timeout)


def test_retries_of_an_idempotent_method(world: Any) -> None:
    """A first server swallows the request; the retry reaches the second."""
    swallowing, answering = Calc(world), Calc(world)
    swallowing.server._handlers[ADD.name] = swallowing.server._handlers[ONCE.name]
    with (
        world.serving(swallowing.server),
        world.serving(answering.server),
        world.client([swallowing.server.endpoint, answering.server.endpoint], retry=Retry(attempts=2)) as client,
    ):
        try:
            for number in range(4):
                assert client.call(ADD, Add(a=number, b=0), timeout=2.0, idempotent=True).total == number
            assert client.client.statistics.retried >= 1
        finally:
            swallowing.go.set()
