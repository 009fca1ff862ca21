"""The blocking client's loop and its tenants: whoever turns it, however it ends, nobody is left waiting.

Every test here once hung, or could have.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, wait
from typing import Any

import pytest
import zmq

from tests.worlds import ADD, COUNT, LIMIT, ONCE, Add, Number, Sum, in_threads, until
from zpatterns import (
    Closed,
    PeerUnavailable,
    ReplyServer,
    RequestClient,
    RequestTimeout,
    WrongThreadError,
    ZPatternsError,
)

NOBODY = "ipc:///tmp/zpatterns-nobody-is-bound-here"


INTERRUPTED = """
import faulthandler, os, signal, sys, threading, time
from tests.worlds import ADD, Add, LIMIT
from zpatterns import RequestClient, ZPatternsError

faulthandler.dump_traceback_later(50, exit=True)
client = RequestClient(sys.argv[1], timeout=20.0)
stop, failures, interrupted = threading.Event(), [], 0


def company():
    while not stop.is_set():
        try:
            assert client.submit(ADD, Add(a=1, b=2)).result(LIMIT).total == 3
            time.sleep(0.001)
        except ZPatternsError:
            pass  # its call was in the socket that was interrupted
        except BaseException as error:
            failures.append(error)


def interrupt():
    while not stop.is_set():
        time.sleep(0.003)
        os.kill(os.getpid(), signal.SIGINT)


threads = [threading.Thread(target=work, daemon=True) for work in (company, interrupt)]
over = time.monotonic() + 3.0
while time.monotonic() < over:
    try:
        if not threads[1].is_alive():
            for thread in threads:
                thread.start()
        while time.monotonic() < over:
            client.request(ADD, Add(a=1, b=2))
    except KeyboardInterrupt:
        interrupted += 1
while not stop.is_set():
    try:
        stop.set()
    except KeyboardInterrupt:
        pass
signal.signal(signal.SIGINT, signal.SIG_IGN)
threads[0].join(LIMIT)
assert not threads[0].is_alive(), "company hangs"
assert not failures, failures
assert client.request(ADD, Add(a=2, b=2)).total == 4
client.close()
print(interrupted)
"""


class Held:
    """A server whose handlers wait until they are let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.entered = threading.Semaphore(0)
        self.server = ReplyServer("tcp://127.0.0.1:*", threads=64)
        self.server.reply(ADD)(self._add)
        self.server.reply(ONCE)(self._held)
        self.server.stream(COUNT)(self._count)

    def _add(self, request: Add) -> Sum:
        return Sum(total=request.a + request.b)

    def _held(self, request: Add) -> Sum:
        self.entered.release()
        self.go.wait(LIMIT)
        return Sum(total=request.a + request.b)

    def _count(self, request: Number) -> Iterator[Number]:
        for value in range(request.value):
            yield Number(value=value)


@pytest.fixture
def held():
    made = Held()
    with made.server:
        try:
            yield made
        finally:
            made.go.set()


def test_close_ends_the_call_of_another_thread_that_drives(held: Held) -> None:
    client = RequestClient(held.server.endpoint, timeout=60.0)
    caught: list[Any] = []

    def call() -> None:
        try:
            client.request(ONCE, Add(a=1, b=2))
        except Closed as error:
            caught.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    assert held.entered.acquire(timeout=LIMIT)
    client.close()
    thread.join(LIMIT)
    assert not thread.is_alive()
    assert caught


def test_close_ends_calls_of_many_threads_futures_and_streams(held: Held) -> None:
    client = RequestClient(held.server.endpoint, timeout=60.0)
    client.request(ADD, Add(a=1, b=2))
    stream = client.stream(COUNT, Number(value=10**6))
    assert next(stream).value == 0
    futures = [client.submit(ONCE, Add(a=1, b=2)) for _ in range(8)]

    def work(number: int) -> object:
        if number == 16:
            for _ in range(24):
                assert held.entered.acquire(timeout=LIMIT)
            client.close()
            return Closed
        try:
            client.request(ONCE, Add(a=1, b=2))
        except Closed as error:
            return type(error)

    assert set(in_threads(17, work)) == {Closed}
    assert {type(future.exception(LIMIT)) for future in futures} == {Closed}
    with pytest.raises(Closed):
        for _ in stream:
            pass


def test_submit_and_request_that_race_with_close_end(held: Held) -> None:
    for _ in range(100):
        client = RequestClient(held.server.endpoint)
        futures: list[Future[Sum]] = []

        def work(number: int, client: RequestClient = client, futures: list[Future[Sum]] = futures) -> None:
            try:
                if number == 0:
                    client.close()
                elif number % 2:
                    futures.append(client.submit(ADD, Add(a=1, b=2), timeout=20.0))
                else:
                    client.request(ADD, Add(a=1, b=2), timeout=20.0)
            except Closed:
                pass

        in_threads(6, work)
        assert not wait(futures, LIMIT).not_done


def test_a_callback_may_close_the_client(held: Held) -> None:
    client = RequestClient(held.server.endpoint)
    closed = threading.Event()

    def close(_: object) -> None:
        client.close()
        closed.set()

    future = client.submit(ADD, Add(a=1, b=2))
    other = client.submit(ONCE, Add(a=1, b=2), timeout=60.0)
    future.add_done_callback(close)
    assert closed.wait(LIMIT)
    assert isinstance(other.exception(LIMIT), Closed)
    until(lambda: _zpatterns_threads("client") == 0)


def test_a_blocking_call_from_a_callback_is_refused_at_once(held: Held) -> None:
    caught: list[BaseException] = []
    heard = threading.Event()

    def listen(endpoint: str, up: bool) -> None:
        try:
            client.request(ADD, Add(a=1, b=2))
        except BaseException as error:  # noqa: BLE001  looked at below
            caught.append(error)
        heard.set()

    client = RequestClient(held.server.endpoint, on_connection=listen)
    with client:
        assert client.submit(ADD, Add(a=1, b=2)).result(LIMIT).total == 3
        assert heard.wait(LIMIT)
    assert isinstance(caught[0], WrongThreadError)
    assert "submit" in str(caught[0])


def test_a_client_that_ends_on_its_own_thread(held: Held) -> None:
    """A call holds its client. With the last call goes the client, on the thread that turns its loop, or by the collector."""
    client = RequestClient(held.server.endpoint)
    cycle: list[Any] = [client]
    cycle.append(cycle)
    ended = threading.Event()
    held_by_its_call = client.submit(ONCE, Add(a=1, b=2), timeout=60.0)
    held_by_its_call.add_done_callback(lambda _: gc.collect())
    held_by_its_call.add_done_callback(lambda _: ended.set())
    assert held.entered.acquire(timeout=LIMIT)
    gone = weakref.ref(client)
    del client, cycle, held_by_its_call
    gc.collect()
    assert gone() is not None
    held.go.set()
    assert ended.wait(LIMIT)
    until(lambda: gc.collect() >= 0 and gone() is None)


def test_a_stream_that_is_dropped_is_cancelled(held: Held) -> None:
    with RequestClient(held.server.endpoint) as client:
        for part in client.stream(COUNT, Number(value=10**6)):
            if part.value == 3:
                break
        del part
        gc.collect()
        until(lambda: client.statistics.cancelled == 1)
        until(lambda: held.server.statistics.stopped == 1)


def test_a_terminated_context_ends_every_call_with_a_typed_error(held: Held) -> None:
    context = zmq.Context()
    client = RequestClient(held.server.endpoint, context=context, timeout=60.0)
    futures = [client.submit(ONCE, Add(a=1, b=2)) for _ in range(3)]
    for _ in futures:
        assert held.entered.acquire(timeout=LIMIT)
    ended = threading.Thread(target=context.term, daemon=True)
    ended.start()
    assert all(isinstance(future.exception(LIMIT), ZPatternsError) for future in futures)
    with pytest.raises(ZPatternsError):
        client.request(ADD, Add(a=1, b=2), timeout=1.0)
    client.close()
    ended.join(LIMIT)
    assert not ended.is_alive()


def test_wake_after_close_writes_to_nobody(held: Held) -> None:
    """The number of a closed descriptor is given to the next file that is opened."""
    server = ReplyServer("inproc://woken")
    server.reply(ADD)(held._add)
    with server:
        pass
    read, write = os.pipe()
    others = [os.pipe() for _ in range(8)]
    os.set_blocking(read, False)
    try:
        server.stop()
        server.close()
        for each, _ in [(read, write), *others]:
            os.set_blocking(each, False)
            with pytest.raises(BlockingIOError):
                os.read(each, 1)
    finally:
        for pair in [(read, write), *others]:
            os.close(pair[0])
            os.close(pair[1])


def test_keyboard_interrupts_leave_the_client_usable(held: Held) -> None:
    """Wherever they hit: in the wait, between two frames, in the machine."""
    script = [sys.executable, "-X", "faulthandler", "-c", INTERRUPTED, held.server.endpoint]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr  # (stderr has what pyzmq could not raise in a destructor)
    assert int(done.stdout) > 50


def test_threads_submit_stream_and_close_at_random(held: Held) -> None:
    for _ in range(5):
        client = RequestClient(held.server.endpoint, timeout=20.0)

        def work(number: int, client: RequestClient = client) -> int:
            done = 0
            try:
                while done < 200:
                    kind = (number + done) % 4
                    if kind == 0:
                        assert client.request(ADD, Add(a=number, b=done)).total == number + done
                    elif kind == 1:
                        assert client.submit(ADD, Add(a=number, b=done)).result(LIMIT).total == number + done
                    elif kind == 2:
                        client.submit(ADD, Add(a=1, b=2)).cancel()
                    else:
                        with client.stream(COUNT, Number(value=5)) as parts:
                            assert next(parts).value == 0
                    done += 1
                    if number == 0 and done == 100:
                        client.close()
            except Closed:
                pass
            return done

        assert sum(in_threads(12, work)) > 100
        client.close()


def test_no_thread_is_left(held: Held) -> None:
    with RequestClient(held.server.endpoint) as client:
        client.submit(ADD, Add(a=1, b=2)).result(LIMIT)
        assert _zpatterns_threads("client") == 1
    until(lambda: _zpatterns_threads("client") == 0)


def test_a_cancelled_future_is_done_for_those_who_wait(held: Held) -> None:
    with RequestClient(held.server.endpoint) as client:
        future = client.submit(ONCE, Add(a=1, b=2), timeout=60.0)
        assert held.entered.acquire(timeout=LIMIT)
        assert future.cancel()
        assert not wait([future], LIMIT).not_done


def test_nobody_there_ends_by_its_deadline() -> None:
    with RequestClient(NOBODY, timeout=0.2) as client:
        with pytest.raises((PeerUnavailable, RequestTimeout)):
            client.request(ADD, Add(a=1, b=2))
        assert isinstance(client.submit(ADD, Add(a=1, b=2)).exception(LIMIT), PeerUnavailable)


def _zpatterns_threads(kind: str) -> int:
    return sum(thread.name == f"zpatterns-{kind}" for thread in threading.enumerate())
