"""Clumsy use of publish/subscribe, pipelines and pairs: shared, closed and interrupted at bad moments. Nothing hangs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

import zpatterns
import zpatterns.asyncio
from zpatterns import ConfigurationError, Topic

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


def test_a_push_that_waits_holds_up_neither_close_nor_others() -> None:
    push = zpatterns.Push.bind("tcp://127.0.0.1:*", bytes, timeout=1000.0)
    said: list[str] = []

    def send() -> None:
        with pytest.raises(zpatterns.Closed):
            push.send(b"never")
        said.append("closed")

    threads = started(send, send)
    with pytest.raises(zpatterns.Overloaded, match="Is a Pull connected"):
        push.send(b"late", timeout=0.05)
    push.close()
    ended(threads)
    assert said == ["closed"] * 2


def test_items_that_are_made_by_sending() -> None:
    with zpatterns.Pull.bind("tcp://127.0.0.1:*", int) as pull, zpatterns.Push.connect(pull.endpoint, int) as push:

        def items() -> Iterator[int]:
            push.send(1)
            yield 2
            raise KeyError("no more")

        with pytest.raises(KeyError):
            push.send_many(items())
        assert [pull.receive(timeout=LIMIT), pull.receive(timeout=LIMIT)] == [1, 2]


def test_ctrl_c_in_a_push_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised at once, and what was not sent then is never sent."""
    with zpatterns.Push.bind("tcp://127.0.0.1:*", bytes, batch=1, timeout=1000.0) as push:

        def interrupted(*_: object) -> bool:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(push._pipe, "wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                push.send(b"first")
        with zpatterns.Pull.connect(push.endpoint, bytes) as pull:
            push.send(b"second")
            assert pull.receive(timeout=LIMIT) == b"second"


def test_many_threads_that_pull_hold_up_neither_close_nor_a_deadline() -> None:
    pull = zpatterns.Pull.bind("tcp://127.0.0.1:*", bytes)
    threads = started(*[lambda: list(pull)] * 8)
    with pytest.raises(zpatterns.RequestTimeout):
        pull.receive(timeout=0.05)
    pull.close()
    ended(threads)


@pytest.mark.parametrize("name", ["Push", "Pull", "Pair", "Proxy", "PipelineWorker"])
@pytest.mark.parametrize("module", [zpatterns, zpatterns.asyncio], ids=["blocking", "asyncio"])
def test_classes_that_are_made_another_way_say_which(module: Any, name: str) -> None:
    with pytest.raises(ConfigurationError, match="make one with"):
        getattr(module, name)("tcp://127.0.0.1:*")


def test_a_stage_is_a_decorated_function() -> None:
    with pytest.raises(ConfigurationError, match=r"@pipeline\.stage"):
        zpatterns.Stage("resize")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_a_timeout_is_a_number() -> None:
    with pytest.raises(ConfigurationError, match="timeout='1 s'"):
        zpatterns.RequestClient("tcp://127.0.0.1:5555", timeout="1 s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
