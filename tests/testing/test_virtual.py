"""``VirtualWorld``: the same story from the same seed, hours in a second, and every fault with the outcome it has in earnest."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import zpatterns.asyncio
from tests.worlds import ADD, COUNT, DEDUPE, ONCE, Add, Number, Sum
from zpatterns import (
    Closed,
    ConfigurationError,
    DecodeError,
    OutcomeUnknown,
    PeerUnavailable,
    ReplyError,
    ReplyServer,
    RequestContext,
    RequestTimeout,
    Retry,
    Status,
    ZPatternsError,
)
from zpatterns.testing import Faults, VirtualWorld


def make_server(ran: list[int]) -> ReplyServer:
    server = ReplyServer("tcp://127.0.0.1:5555", name="calc")

    def add(request: Add) -> Sum:
        ran.append(request.a)
        if request.a < 0:
            raise ReplyError(Status.OUT_OF_RANGE, "a is negative", details={"field": "a"})
        return Sum(total=request.a + request.b)

    for method in (ADD, ONCE, DEDUPE):
        server.reply(method)(add)

    @server.stream(COUNT)
    def count(request: Number) -> Iterator[Number]:
        for value in range(request.value):
            yield Number(value=value)

    @server.plain
    def plain(frames: list[bytes]) -> list[bytes]:
        return [frame.upper() for frame in frames]

    return server


def test_everything_a_client_does() -> None:
    ran: list[int] = []
    with VirtualWorld(make_server(ran)) as world, world.client() as client:
        assert client.request(ADD, Add(a=1, b=2)) == Sum(total=3)
        assert client.submit(ADD, Add(a=2, b=2)).result() == Sum(total=4)
        assert [part.value for part in client.stream(COUNT, Number(value=300))] == list(range(300))
        with client.stream(COUNT, Number(value=10**6)) as parts:
            assert next(parts).value == 0
        assert client.request_plain([b"a", b"b"]) == [b"A", b"B"]
        with pytest.raises(ReplyError, match="negative") as caught:
            client.request(ADD, Add(a=-1, b=0))
        assert caught.value.details == {"field": "a"}
        assert isinstance(client.submit(ADD, Add(a=-1, b=0)).exception(), ReplyError)
        with pytest.raises(DecodeError):
            client.request("calc.add", {"a": 1, "b": 2}, reply=Number)
        assert client.request("zp.ping", reply=dict[str, Any])["name"] == "calc"
        assert client.connected == {"virtual": True}
        assert client.statistics.answered >= 4
        assert ran == [1, 2, -1, -1, 1]
        assert world.server_statistics.answered > 0
        assert world.incarnations == 1


def story(seed: int) -> tuple[Any, ...]:
    ran: list[int] = []
    faults = Faults(disconnect=0.02, crash=0.01, delay=0.1, stall_server=0.005)
    with VirtualWorld(make_server(ran), seed=seed, faults=faults, handler_time=(0.0, 0.05)) as world:
        outcomes: list[Any] = []
        with world.client(timeout=20.0, retry=Retry(attempts=10)) as client:
            for number in range(40):
                future = client.submit(ADD, Add(a=number, b=1))
                try:
                    outcomes.append(client.request(ONCE, Add(a=1000 + number, b=0)).total)
                except ZPatternsError as error:
                    outcomes.append(type(error))
                assert future.result().total == number + 1  # idempotent: nothing stops it
        return world.now, world.incarnations, outcomes, ran


def test_the_same_seed_is_the_same_story() -> None:
    first = story(3)
    assert story(3) == first
    assert story(4) != first
    assert first[1] > 1
    assert OutcomeUnknown in {outcome for seed in range(5) for outcome in story(seed)[2]}


def test_once_means_once() -> None:
    """A request without a promise is answered at most once, whatever happens."""
    for seed in range(10):
        _, _, outcomes, ran = story(seed)
        for number, outcome in enumerate(outcomes):
            assert ran.count(1000 + number) <= 1
            assert outcome == 1000 + number or issubclass(outcome, ZPatternsError)


def test_time_passes_by_itself() -> None:
    with VirtualWorld(make_server([]), handler_time=(100.0, 100.0)) as world, world.client(timeout=3600.0) as client:
        began = world.now
        assert client.request(ADD, Add(a=1, b=1)).total == 2
        assert 100.0 <= world.now - began < 101.0
        world.run(50.0)
        assert 150.0 <= world.now - began < 151.0
        with pytest.raises(RequestTimeout):
            client.request(ONCE, Add(a=1, b=1), timeout=99.0)
        parts = client.stream(COUNT, Number(value=3), timeout=200.0)
        assert [part.value for part in parts] == [0, 1, 2]


def test_crash_and_stop() -> None:
    ran: list[int] = []
    with VirtualWorld(make_server(ran), handler_time=(1.0, 1.0)) as world, world.client(timeout=20.0) as client:
        lost, again = client.submit(ONCE, Add(a=1, b=1)), client.submit(ADD, Add(a=2, b=2))
        world.run(0.5)
        world.crash()
        assert isinstance(lost.exception(), OutcomeUnknown)
        assert again.result().total == 4
        assert ran == [1, 2, 2]
        world.stop()
        world.crash()
        world.stop()
        world.until(lambda: world.incarnations == 3)
        assert client.request(ADD, Add(a=3, b=3)).total == 6


def test_dedupe_runs_once_while_the_server_lives() -> None:
    ran: list[int] = []
    world = VirtualWorld(make_server(ran), seed=5, faults=Faults(disconnect=0.3), handler_time=(0.1, 0.5))
    with world, world.client(timeout=60.0, retry=Retry(attempts=50)) as client:
        for number in range(30):
            assert client.request(DEDUPE, Add(a=number, b=0)).total == number
    assert ran == list(range(30))


def test_faults_may_change() -> None:
    with VirtualWorld(make_server([]), faults=Faults(refuse=1.0)) as world, world.client() as client:
        with pytest.raises(PeerUnavailable):
            client.request(ADD, Add(a=1, b=1), timeout=5.0)
        world.set_faults(Faults())
        assert client.request(ADD, Add(a=1, b=1)).total == 2


def test_a_cancelled_future_and_a_closed_client() -> None:
    with VirtualWorld(make_server([]), handler_time=(5.0, 5.0)) as world:
        client = world.client(timeout=20.0)
        future = client.submit(ONCE, Add(a=1, b=1))
        world.run(1.0)
        assert future.cancel()
        world.until(lambda: world.server_statistics.stopped == 1, timeout=1.0)
        waiting = client.submit(ONCE, Add(a=1, b=1))
        client.close()
        client.close()
        assert isinstance(waiting.exception(), Closed)
        with pytest.raises(Closed):
            client.request(ADD, Add(a=1, b=1))


def test_the_context_has_the_worlds_clock() -> None:
    server = ReplyServer("tcp://127.0.0.1:5555")
    deadlines: list[float] = []

    @server.reply("left")
    def left(ctx: RequestContext) -> None:
        deadlines.append(ctx.deadline)

    with VirtualWorld(server) as world, world.client(timeout=10.0, retry=Retry(attempts=1)) as client:
        began = world.now
        client.request("left", reply=type(None))
        assert deadlines[0] == pytest.approx(began + 10.0, abs=0.1)


def test_misuse() -> None:
    with pytest.raises(ConfigurationError, match="no handlers"):
        VirtualWorld(ReplyServer("tcp://127.0.0.1:5555"))
    awaiting = zpatterns.asyncio.ReplyServer("tcp://127.0.0.1:5555")

    async def add(request: Add) -> Sum:
        return Sum(total=request.a)

    awaiting.reply(ADD)(add)
    with pytest.raises(ConfigurationError, match="TestServer"):
        VirtualWorld(awaiting)
    world = VirtualWorld(make_server([]))
    client = world.client()
    world.close()
    world.close()
    world.crash()
    world.stop()
    with pytest.raises(Closed):
        world.client()
    with pytest.raises(PeerUnavailable):
        client.request(ADD, Add(a=1, b=1), timeout=1.0)
    with pytest.raises(RequestTimeout, match="virtual seconds"):
        world.until(lambda: False, timeout=1.0)


PLUGIN_TEST = """
from zpatterns import Method, ReplyServer
from zpatterns.testing import Faults
pytest_plugins = ["zpatterns.testing.plugin"]
DOUBLE = Method("double", int, int, idempotent=True)
server = ReplyServer("tcp://127.0.0.1:5555")

@server.reply(DOUBLE)
def double(value: int) -> int:
    return 2 * value

def test_served(served):
    assert served(server).request(DOUBLE, 21) == 42

def test_world(virtual_world):
    world = virtual_world(server, faults=Faults(disconnect=0.1))
    assert world.client().request(DOUBLE, 21) == 42

def test_seed(virtual_world):
    assert virtual_world(server, seed=5).seed == 5
    assert False
"""


def test_plugin(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(PLUGIN_TEST)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "test_mine.py"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert "1 failed, 2 passed" in ended.stdout, ended.stdout
    assert "virtual_world(..., seed=5)" in ended.stdout
