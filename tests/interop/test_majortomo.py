"""The PyPI package majortomo, 18/MDP 0.2 in its own dialect: as client, as worker, and both with ours in between."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

from tests.worlds import LIMIT, until
from zpatterns import Broker, Heartbeat, ReplyServer, RequestClient

client_of = pytest.importorskip("majortomo.client", reason="pip install majortomo six")
worker_of = pytest.importorskip("majortomo.worker", reason="pip install majortomo six")


@pytest.fixture
def broker() -> Iterator[Broker]:
    quick = Heartbeat(interval=0.2)
    with Broker("tcp://127.0.0.1:*", "tcp://127.0.0.1:*", dialect="majortomo", heartbeat=quick) as broker:
        yield broker


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    context: zmq.Context[Any] = zmq.Context()
    yield context
    context.destroy(0)


def served(broker: Broker, name: str) -> Callable[[], bool]:
    return lambda: any(each.name == name and each.workers for each in broker.services())


def work(broker: Broker, context: zmq.Context[Any], requests: int) -> threading.Thread:
    """A majortomo worker that answers so many requests, each with one part and an end, and says goodbye."""

    def run() -> None:
        worker = worker_of.Worker(broker.backend, "echo", heartbeat_interval=0.2, zmq_context=context)
        worker.connect()
        for _ in range(requests):
            client, frames = worker.wait_for_request()
            worker.send_reply_partial(client, [b"part"])
            worker.send_reply_final(client, frames)
        worker.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    until(served(broker, "echo"))
    return thread


def test_its_client_and_its_worker(broker: Broker, context: zmq.Context[Any]) -> None:
    thread = work(broker, context, 3)
    client = client_of.Client(broker.frontend, zmq_context=context)
    client.connect()
    for number in range(3):
        client.send("echo", b"a", b"%d" % number)
        assert client.recv_all_as_list(timeout=LIMIT) == [b"part", b"a", b"%d" % number]
    client.close()
    thread.join(LIMIT)
    assert not thread.is_alive()
    until(lambda: broker.statistics.workers_lost == 1)


def test_its_client_and_our_worker(broker: Broker, context: zmq.Context[Any]) -> None:
    worker = ReplyServer.worker(broker.backend, name="upper")

    @worker.plain
    def upper(frames: list[bytes]) -> list[bytes]:
        return [frame.upper() for frame in frames]

    with worker:
        until(served(broker, "upper"))
        client = client_of.Client(broker.frontend, zmq_context=context)
        client.connect()
        client.send("upper", b"hello", b"world")
        assert client.recv_all_as_list(timeout=LIMIT) == [b"HELLO", b"WORLD"]
        client.close()


def test_our_client_and_its_worker(broker: Broker, context: zmq.Context[Any]) -> None:
    thread = work(broker, context, 5)
    with RequestClient(broker.frontend, service="echo", timeout=LIMIT) as client:
        for number in range(5):
            assert client.request_plain(b"%d" % number) == [b"%d" % number]
    thread.join(LIMIT)
    assert broker.statistics.untold == 5  # the parts: a plain call takes one answer
