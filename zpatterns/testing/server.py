"""``TestServer``: a server's handlers behind a real client, in memory or over inproc. Everything but the network runs."""

from __future__ import annotations

import copy
from itertools import count
from types import TracebackType
from typing import Any

from .. import asyncio as aio
from .._shell.handlers import Handlers
from ..drive.memory import MemoryDealer, MemoryRouter
from ..errors import ConfigurationError
from ..sync.reply import ReplyServer
from ..sync.request import RequestClient

_numbers = count(1)


class TestServer:
    """``with TestServer(server) as client: client.request(ADD, Add(a=1, b=2))``.

    Takes a server that is not started, of either world (``async with`` for ``zpatterns.asyncio``), and gives a client
    of the same world, connected. In memory nothing is opened: requests are encoded, validated, dispatched to the same
    handlers and decoded, without a socket. ``real=True`` uses a socket over inproc. Options of the client, such as
    ``timeout=``, are passed on. The server itself is left as it is and can be used again.
    """

    __test__ = False  # pytest: not a test class

    def __init__(self, server: ReplyServer | aio.ReplyServer, /, *, real: bool = False, **client: Any) -> None:
        if not isinstance(server, Handlers):
            raise ConfigurationError(f"TestServer takes a ReplyServer, not {type(server).__name__}")
        self._given = server
        self._real = real
        self._options = client
        self._server: Any = None
        self._client: Any = None

    def _start(self, client_class: Any) -> Any:
        address = f"inproc://zpatterns.test.{next(_numbers)}"
        given: Any = self._given
        server = self._server = type(given)(
            address,
            name=given.name,
            version=given.version,
            threads=given._thread_count,
            exceptions=given._exceptions,
            limits=given._limits,
            heartbeat=given._heartbeat,
            options=given._options,
            context=given._context,
        )
        server._handlers = copy.copy(given._handlers)
        ports = None
        if not self._real:
            server._port = MemoryRouter()
            ports = [MemoryDealer(server._port)]
        self._client = client_class(address, **{"context": given._context, "_ports": ports, **self._options})
        return server

    def __enter__(self) -> RequestClient:
        if not isinstance(self._given, ReplyServer):
            raise ConfigurationError("this server is of zpatterns.asyncio: use 'async with TestServer(...)'")
        self._start(RequestClient).__enter__()
        client: RequestClient = self._client
        return client

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._client.close()
        self._server.stop(grace=0.0 if kind else None)
        self._server.close()

    async def __aenter__(self) -> aio.RequestClient:
        if not isinstance(self._given, aio.ReplyServer):
            raise ConfigurationError("this server is of the blocking world: use 'with TestServer(...)'")
        await self._start(aio.RequestClient).__aenter__()
        client: aio.RequestClient = self._client
        return client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._client.close()
        await self._server.close()
