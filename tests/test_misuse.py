"""Clumsy use of publish/subscribe, pipelines and pairs: shared, closed and interrupted at bad moments. Nothing hangs."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import zpatterns
from zpatterns import Topic

from .worlds import LIMIT, until

COUNT = Topic("count", int)
NOBODY = "tcp://127.0.0.1:1"


def started(*works: Any) -> list[threading.Thread]:
    threads = [threading.Thread(target=work, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    return threads


def ended(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(LIMIT)
    assert not [thread for thread in threads if thread.is_alive()]


@pytest.mark.parametrize("streamed", [False, True])
def test_threads_that_share_a_reader_all_end_with_it(streamed: bool) -> None:
    with zpatterns.Subscriber(NOBODY) as subscriber:
        reader: Any = subscriber.stream(COUNT) if streamed else subscriber
        waits = threading.Barrier(4)

        def read() -> None:
            waits.wait(LIMIT)
            assert list(reader) == []

        threads = started(read, read, read)
        waits.wait(LIMIT)
        reader.close()
        ended(threads)


def test_stop_is_heard_between_two_looks() -> None:
    with zpatterns.Subscriber(NOBODY, COUNT) as subscriber:
        driver: Any = subscriber._driver
        take = driver.take

        def take_and_stop(*arguments: Any) -> Any:
            driver.take = take
            subscriber.stop()
            return take(*arguments)

        driver.take = take_and_stop
        ended(started(subscriber.run))
        until(lambda: driver.take is take)
