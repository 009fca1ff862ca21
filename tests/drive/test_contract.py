"""One script on every driver: blocking, asyncio, in memory and virtual; over inproc, ipc and tcp where there is a socket.

A rule proven on the virtual driver is only worth something if the real ones do the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from tests.worlds import ADD, COUNT, DEDUPE, ONCE, Add, Number
from zpatterns import Closed, DecodeError, ReplyError, RequestTimeout, Status

from .drivers import Real, Virtual

REAL = [(name, transport) for name in ("blocking", "asyncio") for transport in ("inproc", "ipc", "tcp", "memory")]


@pytest.fixture(params=[*(f"{name}-{transport}" for name, transport in REAL), "virtual-1", "virtual-2"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    name, _, where = request.param.partition("-")
    made: Real | Virtual = Virtual(int(where)) if name == "virtual" else Real(name, where, tmp_path)
    try:
        yield made
    finally:
        made.end()


def test_request(driver: Any) -> None:
    assert driver.call(ADD, Add(a=1, b=2)).total == 3
    assert driver.call("calc.add", {"a": 1, "b": 2}) == {"total": 3}
    assert driver.client.statistics.answered == 2


def test_error_reply(driver: Any) -> None:
    with pytest.raises(ReplyError) as caught:
        driver.call(ADD, Add(a=-1, b=2))
    error = caught.value
    assert (error.status, error.message, error.details) == (Status.OUT_OF_RANGE, "a is negative", {"field": "a"})
    with pytest.raises(ReplyError) as caught:
        driver.call("calc.add", {"a": "x"})
    assert caught.value.status is Status.INVALID_ARGUMENT


def test_unknown_method(driver: Any) -> None:
    with pytest.raises(ReplyError) as caught:
        driver.call("calc.nothing", None)
    assert caught.value.status is Status.UNIMPLEMENTED


def test_reply_of_another_type(driver: Any) -> None:
    with pytest.raises(DecodeError):
        driver.call("calc.add", {"a": 1, "b": 2}, reply=Number)


def test_stream_to_its_end(driver: Any) -> None:
    for count in (0, 1, 300):  # more than the credit
        assert [part.value for part in driver.stream(COUNT, Number(value=count))] == list(range(count))


def test_stream_closed_early(driver: Any) -> None:
    with driver.stream(COUNT, Number(value=10**6)) as parts:
        assert [next(parts).value for _ in range(3)] == [0, 1, 2]
    driver.until(lambda: driver.server.statistics.stopped == 1)
    assert driver.call(ADD, Add(a=1, b=2)).total == 3


def test_cancel_reaches_the_server(driver: Any) -> None:
    future = driver.start(ONCE, Add(a=1, b=2))
    driver.entered()
    assert future.cancel()
    driver.until(lambda: driver.server.statistics.stopped == 1)
    driver.release()
    driver.until(lambda: driver.server.statistics.discarded == 1)
    with pytest.raises(CancelledError):
        driver.result(future)
    assert driver.client.statistics.cancelled == 1


def test_dedupe_does_not_run_twice(driver: Any) -> None:
    """Each attempt has a third of the budget; the second finds the first still running."""
    future = driver.start(DEDUPE, Add(a=1, b=2), timeout=3.0)
    driver.entered()
    driver.until(lambda: driver.server.statistics.duplicates == 1)
    driver.release()
    assert driver.result(future).total == 3
    assert driver.server.statistics.dispatched <= 2  # zp.ping, and once the request
    assert driver.client.statistics.retried == 1


def test_a_slow_handler(driver: Any) -> None:
    with pytest.raises(RequestTimeout) as caught:
        driver.call(ONCE, Add(a=1, b=2), timeout=0.2)
    assert caught.value.sent
    driver.until(lambda: driver.server.statistics.stopped == 1)
    driver.release()
    driver.until(lambda: driver.server.statistics.discarded == 1)


def test_plain(driver: Any) -> None:
    assert driver.plain(b"hello") == [b"HELLO"]
    assert driver.plain([b"two", b"frames"]) == [b"TWO", b"FRAMES"]
    assert driver.plain(b"") == [b""]


def test_50_in_flight(driver: Any) -> None:
    futures = [driver.start(ONCE, Add(a=number, b=0)) for number in range(50)]
    driver.entered(50)
    assert not any(future.done() for future in futures)
    driver.release()
    assert [driver.result(future).total for future in futures] == list(range(50))


def test_close_with_open_calls(driver: Any) -> None:
    futures = [driver.start(ONCE, Add(a=1, b=2)) for _ in range(3)]
    parts = driver.stream(COUNT, Number(value=10**6))
    assert next(parts).value == 0
    driver.entered(3)
    driver.close()
    for future in futures:
        with pytest.raises(Closed):
            driver.result(future)
    with pytest.raises(Closed):
        for _ in parts:
            pass
    driver.until(lambda: driver.server.statistics.stopped == 4)
