"""The asyncio ``ReplyServer``: ``async def`` handlers started at once, ``def`` on daemon threads or inline."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from time import monotonic
from types import TracebackType
from typing import Self

from .._shell.arguments import checked_grace, chosen
from .._shell.awork import AsyncHandlerWork
from .._shell.brokering import Behind, server_pump
from .._shell.guards import ForkGuard, checked_endpoint
from .._shell.handlers import Handlers, rules_of
from .._shell.loops import check_loop
from .._shell.operations import check_served, operations
from .._shell.processes import Processes, check_processes
from .._shell.stopping import Stopping
from ..core.jobs import ReplyServerStatistics
from ..core.replier import Replier
from ..drive.areplying import AsyncReplier
from ..drive.memory import MemoryRouter
from ..drive.ports import Router
from ..drive.sockets import Context
from ..endpoint import Insecure
from ..errors import Closed, ConfigurationError, Status
from ..policy import DEFAULT_GRACE, Heartbeat, Limits, SocketOptions

log: logging.Logger = logging.getLogger("zpatterns")


class ReplyServer(Handlers):
    """``zpatterns.ReplyServer`` for asyncio: same arguments and rules; handlers are ``async def`` or ``def``.

    ``async def`` handlers start at once, up to ``limits.concurrency`` of them run side by side; they are cancelled when
    their caller cancels or its budget is spent. ``def`` handlers run on up to ``threads`` daemon threads, or on the
    loop with ``inline=True``. ``server.run()``, ``await server.serve()`` or ``async with server``.
    """

    _takes_async = True

    def __init__(
        self,
        endpoint: str,
        /,
        *,
        name: str = "server",
        version: str = "0",
        threads: int = 8,
        grace: float = DEFAULT_GRACE,
        exceptions: Mapping[type[Exception], Status] | None = None,
        limits: Limits | None = None,
        heartbeat: Heartbeat | None = None,
        options: SocketOptions | None = None,
        security: Insecure | None = None,
        context: Context | None = None,
        _behind: Behind | None = None,
    ) -> None:
        super().__init__(name, version, exceptions)
        if threads < 1:
            raise ConfigurationError(f"threads={threads}: at least one is needed")
        self._text = endpoint
        self._behind = _behind
        self._checked = checked_endpoint(endpoint, bind=True, security=security) if _behind is None else None
        self._thread_count = threads
        self._limits = chosen(limits, Limits)
        self._heartbeat = chosen(heartbeat, Heartbeat)
        self._options = chosen(options, SocketOptions)
        self._context = context
        self._port: Router | MemoryRouter | None = None
        self._fork = ForkGuard("ReplyServer")
        self._replier: AsyncReplier | None = None
        self._address: str | None = None
        self._stopping = Stopping()
        self._closed = False
        self._grace = checked_grace(grace)
        self._processes: Processes | None = None

    @classmethod
    def worker(
        cls,
        backend: str | Sequence[str],
        /,
        *,
        name: str,
        credit: int | None = None,
        version: str = "0",
        threads: int = 8,
        grace: float = DEFAULT_GRACE,
        exceptions: Mapping[type[Exception], Status] | None = None,
        limits: Limits | None = None,
        heartbeat: Heartbeat | None = None,
        options: SocketOptions | None = None,
        security: Insecure | None = None,
        context: Context | None = None,
    ) -> Self:
        """A worker behind one broker or several: see ``zpatterns.ReplyServer.worker``."""
        behind = Behind(backend, name, credit, security)
        return cls(
            ", ".join(behind.texts),
            name=name,
            version=version,
            threads=threads,
            grace=grace,
            exceptions=exceptions,
            limits=limits,
            heartbeat=heartbeat,
            options=options,
            context=context,
            _behind=behind,
        )

    @property
    def endpoint(self) -> str:
        """The real address once the server has started, port * resolved; before that, what was asked for."""
        return self._address or self._text

    @property
    def statistics(self) -> ReplyServerStatistics:
        """Counters since the server was started."""
        return self._replier.machine.statistics if self._replier is not None else ReplyServerStatistics()

    def run(self, *, grace: float | None = None, processes: int = 1) -> None:
        """Serve on a loop of its own until SIGINT or SIGTERM; see ``zpatterns.ReplyServer.run``."""
        check_processes(processes, binds=self._behind is None)
        if processes > 1:
            self._fork.check()
            check_served(self)
            self._processes = Processes(self, self.name, processes, self._grace if grace is None else grace)
            self._processes.run()
        else:
            asyncio.run(self.serve(grace=grace, signals=True))

    async def serve(self, *, grace: float | None = None, signals: bool = False) -> None:
        """Serve until ``stop()`` is called or the task is cancelled; ``signals=True`` stops on SIGINT and SIGTERM too."""
        if grace is not None:
            self._grace = checked_grace(grace)
        self._ready()
        await self._stopping.serve(self._finish, self._close_now, signals=signals)

    def stop(self, *, grace: float | None = None) -> None:
        """End ``serve()`` gracefully. Call it on the loop, or with ``loop.call_soon_threadsafe``. Returns at once."""
        if grace is not None:
            self._grace = checked_grace(grace)
        if self._processes is not None:
            self._processes.stop(grace)
        self._stopping.asked.set()

    async def close(self, *, grace: float | None = None) -> None:
        """Stop: take nothing more, wait up to ``grace`` seconds for running handlers, close. Idempotent."""
        if grace is not None:
            self._grace = checked_grace(grace)
        if self._fork.forked or self._replier is None:
            return
        if self._replier.loop.is_closed():
            self._close_now()
            return
        check_loop(self._replier.loop, "server")
        try:
            await self._stopping.end(self._finish)
        finally:
            self._close_now()

    async def __aenter__(self) -> Self:
        self._ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def _finish(self) -> None:
        if self._replier is not None:
            await self._replier.stop(self._grace)

    def _close_now(self) -> None:
        if self._replier is not None and not self._closed:
            self._closed = True
            self._replier.close()
            log.info("server %s has stopped", self.name)

    def _ready(self) -> None:
        self._fork.check()
        if self._replier is not None:
            raise Closed("this server was started already; make a new one to start again")
        check_served(self)
        check_loop(None, "server")
        started = monotonic()
        handlers = {**self._handlers, **operations(self, lambda: machine, started)}
        machine = Replier(
            rules_of(handlers),
            incarnation=os.urandom(8),
            threads=self._thread_count,
            limits=self._limits,
            heartbeat=self._heartbeat,
            answers_all=self._behind is not None,
        )
        pump, self._address = server_pump(
            machine,
            self._behind,
            handlers,
            endpoint=self._checked,
            port=self._port,
            threads=self._thread_count,
            limits=self._limits,
            heartbeat=self._heartbeat,
            options=self._options,
            context=self._context,
        )
        work = AsyncHandlerWork(self._exceptions, self._limits)
        self._replier = AsyncReplier(
            machine,
            pump,
            work,
            threads=self._thread_count,
            name=f"zpatterns-{self.name}-handler",
        )
        self._replier.broken = self._stopping.broke
        log.info("server %s answers at %s", self.name, self._address)
