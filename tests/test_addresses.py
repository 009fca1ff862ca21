"""Endpoints that cannot be bound or connected, or should not be: in both worlds a typed error that says what to do next."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from zpatterns import AddressInUse, ConfigurationError, Insecure, InsecureEndpointError

from .test_guards import refused, server_of
from .worlds import ADD, LIMIT, Add


@pytest.mark.parametrize("transport", ["tcp", "ipc", "inproc"])
def test_an_address_in_use(world: Any, transport: str, tmp_path: Path) -> None:
    bind = {"tcp": "tcp://127.0.0.1:*", "ipc": f"ipc://{tmp_path}/s", "inproc": "inproc://in-use"}[transport]
    first = server_of(world, bind)
    with world.serving(first), world.client(first.endpoint) as client:
        for _ in range(2):
            with pytest.raises(AddressInUse, match=r"stop|choose|bind"):
                world.serving(server_of(world, first.endpoint)).__enter__()
        assert client.call(ADD, Add(a=1, b=2)).total == 3
    again = server_of(world, first.endpoint)
    with world.serving(again), world.client(first.endpoint) as client:
        assert client.call(ADD, Add(a=1, b=2)).total == 3


@pytest.mark.parametrize("transport", ["tcp", "ipc", "inproc"])
def test_an_address_is_free_as_soon_as_its_server_is_closed(world: Any, transport: str, tmp_path: Path) -> None:
    """libzmq gives it back in a thread of its own, after close() has returned: it must not take it from the next."""
    first = server_of(
        world, {"ipc": f"ipc://{tmp_path}/s", "inproc": "inproc://again"}.get(transport, "tcp://127.0.0.1:*")
    )
    with world.serving(first):
        endpoint = first.endpoint
    for number in range(50):
        server = server_of(world, endpoint)
        with world.serving(server), world.client(endpoint, timeout=LIMIT) as client:
            assert client.call(ADD, Add(a=number, b=2)).total == number + 2


def test_a_path_of_a_live_foreign_server(world: Any, tmp_path: Path) -> None:
    path = tmp_path / "foreign"
    with socket.socket(socket.AF_UNIX) as foreign:
        foreign.bind(str(path))
        foreign.listen()
        refused(
            AddressInUse, "choose another path", lambda: world.serving(server_of(world, f"ipc://{path}")).__enter__()
        )
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))


def test_a_path_that_a_dead_server_left(world: Any, tmp_path: Path) -> None:
    path = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.is_socket()
    with world.serving(server_of(world, f"ipc://{path}")), world.client(f"ipc://{path}") as client:
        assert client.call(ADD, Add(a=1, b=2)).total == 3


def test_a_path_that_is_something_else(world: Any, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("do not delete")
    start = world.serving(server_of(world, f"ipc://{path}")).__enter__
    refused(ConfigurationError, "choose another path", start)
    assert path.read_text() == "do not delete"
    start = world.serving(server_of(world, f"ipc://{tmp_path}/no/folder")).__enter__
    refused(ConfigurationError, "make it first", start)
    assert not (tmp_path / "no").exists()


def test_only_its_owner_may_connect(world: Any, tmp_path: Path) -> None:
    with world.serving(server_of(world, f"ipc://{tmp_path}/s")):
        assert (tmp_path / "s").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("transport", ["pgm", "epgm"])
def test_a_transport_on_which_nothing_comes_back(world: Any, transport: str) -> None:
    endpoint = f"{transport}://127.0.0.1;239.192.1.1:5555"
    refused(ConfigurationError, "this pattern needs tcp://", lambda: server_of(world, endpoint, security=Insecure()))

    def connect() -> None:
        with world.client(endpoint, security=Insecure()) as client:
            client.call(ADD, Add(a=1, b=2))

    refused(ConfigurationError, "this pattern needs tcp://", connect)


@pytest.mark.parametrize("host", ["*", "0.0.0.0", "[::]", "10.1.2.3", "127.0.0.1.example"])
def test_plaintext_beyond_loopback(world: Any, host: str) -> None:
    refused(InsecureEndpointError, r"security=Insecure\(\)", lambda: world.Server(f"tcp://{host}:5555"))
    if host != "*":
        refused(InsecureEndpointError, r"security=Insecure\(\)", lambda: world.Client(f"tcp://{host}:5555"))


def test_plaintext_said_aloud(world: Any) -> None:
    server = server_of(world, "tcp://0.0.0.0:*", security=Insecure())
    with world.serving(server):
        port = server.endpoint.rpartition(":")[2]
        with world.client(f"tcp://127.0.0.1:{port}") as client:
            assert client.call(ADD, Add(a=1, b=2)).total == 3
    refused(ConfigurationError, r"pass Insecure\(\)", lambda: world.Server("tcp://0.0.0.0:1", security=True))
