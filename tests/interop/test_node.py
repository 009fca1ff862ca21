"""The npm package zeromq with peers written from RFC 7: REQ and DEALER clients, a worker, and a broker of its own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.worlds import ADD, LIMIT, Add, Sum, until
from zpatterns import Broker, Heartbeat, ReplyServer, RequestClient

NODE = Path(__file__).parent / "node"
pytestmark = pytest.mark.skipif(
    not (shutil.which("node") and (NODE / "node_modules" / "zeromq").is_dir()),
    reason="node or its package zeromq is not installed: make interop",
)


@contextmanager
def node(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(["node", "peers.mjs", *arguments], cwd=NODE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def lines(process: subprocess.Popen[str]) -> list[str]:
    output, _ = process.communicate(timeout=LIMIT)
    return output.splitlines()


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker("tcp://127.0.0.1:*", "tcp://127.0.0.1:*", heartbeat=Heartbeat(interval=0.2)) as broker:
        yield broker


def ours(endpoint: str) -> ReplyServer:
    worker = ReplyServer.worker(endpoint, name="echo")

    @worker.plain
    def plain(frames: list[bytes]) -> list[bytes]:
        return [b"python", *frames]

    @worker.reply(ADD)
    def add(request: Add) -> Sum:
        return Sum(total=request.a + request.b)

    del plain, add
    return worker


@pytest.mark.parametrize("role", ["req", "dealer"])
def test_its_clients_and_our_worker(broker: Broker, role: str) -> None:
    with ours(broker.backend), node(role, broker.frontend) as client:
        assert lines(client) == [f"MDPC01 echo python hello {number}" for number in range(3)]


def test_its_worker_and_all_clients(broker: Broker) -> None:
    with node("worker", broker.backend, "echo", "23") as worker:
        until(lambda: any(each.workers for each in broker.services()))
        with node("req", broker.frontend) as client:
            assert lines(client) == [f"MDPC01 echo node hello {number}" for number in range(3)]
        with RequestClient(broker.frontend, service="echo", timeout=LIMIT) as client:
            for number in range(20):
                assert client.request_plain(b"%d" % number) == [b"node", b"%d" % number]
        assert lines(worker) == ["done"]


def test_our_client_and_our_worker_behind_its_broker() -> None:
    with node("broker") as broker:
        assert broker.stdout is not None
        endpoint = broker.stdout.readline().strip()
        with ours(endpoint), RequestClient(endpoint, service="echo", timeout=LIMIT) as client:
            assert client.request_plain([b"hello"]) == [b"python", b"hello"]
            assert [client.submit(ADD, Add(a=n, b=1)).result(LIMIT).total for n in range(20)] == [*range(1, 21)]
