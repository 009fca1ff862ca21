"""The blocking ``ReplyServer``: handlers on daemon threads or inline, answered by their deadlines, stopped gracefully."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from time import monotonic
from types import TracebackType
from typing import Self

from .._shell.arguments import checked_grace, chosen
from .._shell.brokering import Behind, server_pump
from .._shell.guards import ForkGuard, checked_endpoint
from .._shell.handlers import Handlers, rules_of
from .._shell.operations import check_served, operations
from .._shell.processes import Processes, check_processes
from .._shell.signals import on_signal
from .._shell.work import HandlerWork
from ..core.jobs import ReplyServerStatistics
from ..core.replier import Replier
from ..drive.memory import MemoryRouter
from ..drive.ports import Router
from ..drive.replying import BlockingReplier
from ..drive.sockets import Context
from ..endpoint import Insecure
from ..errors import Closed, ConfigurationError, Status
from ..policy import DEFAULT_GRACE, Heartbeat, Limits, SocketOptions

log: logging.Logger = logging.getLogger("zpatterns")


class ReplyServer(Handlers):
    """Answers typed requests, streams and plain bodies at one endpoint.

    Register handlers with ``@server.reply``, ``@server.stream`` and ``@server.plain``; then ``server.run()`` in the main
    thread, or ``with server:`` for a background thread. Handlers are ``def``: up to ``threads`` of them run at once on
    daemon threads, or on the loop itself with ``inline=True``. A request is refused with Overloaded when
    ``limits.intake`` of them wait; one whose budget is spent before a handler is free is dropped and counted.
    ``grace``: seconds that a server that stops gives handlers to finish.
    ``exceptions`` maps exception types of handlers to statuses; any other exception is INTERNAL, and its text stays in
    the log. ``security=Insecure()`` allows plaintext TCP beyond loopback.

    Raises ConfigurationError and its kinds for an endpoint that cannot be bound, when it starts.
    """

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
        self._replier: BlockingReplier | None = None
        self._address: str | None = None
        self._stopping = False
        self._thread: threading.Thread | None = None
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
        """A worker: the same handlers, behind one broker or several, as the service ``name``.

        It connects to the brokers' backends, and again, with back-off and jitter, when one was restarted; all are used.
        A ``Broker`` of ours gives it ``credit`` requests at once, of whatever method, and streams and cancels; any other
        Majordomo broker (7/MDP) one at a time. The default is what its handlers can run: ``threads`` if there is one that
        runs on a thread, else 64 if there is one ``inline``, else ``limits.concurrency`` (``async def`` alone). What is
        more waits at the broker, for any worker. On close it finishes what it has and says DISCONNECT; requests it has
        not begun go to other workers. ``include(server)`` takes over the handlers of a server; ``run(processes=4)`` is
        four of it.
        """
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
        """Serve until SIGINT or SIGTERM: take nothing more, finish within ``grace`` seconds, refuse the rest.

        A second signal stops at once. Outside the main thread there are no signals: call ``stop()`` from elsewhere.

        A worker may be several ``processes``: this one then only watches over them. Each is a fresh interpreter that
        imports the module with this server, so make it at the top of a module, and call ``run`` below
        ``if __name__ == "__main__"``. One that ends, however it ends, is replaced, after a pause that doubles. All are told
        to stop with this one, by SIGTERM, and killed if they take much longer than ``grace``; they also stop when this
        one was killed. Raises ConfigurationError if the very first cannot even begin.
        """
        if grace is not None:
            self._grace = checked_grace(grace)
        check_processes(processes, binds=self._behind is None)
        if processes > 1:
            self._fork.check()
            check_served(self)
            self._processes = Processes(self, self.name, processes, self._grace)
            self._processes.run()
            return
        replier = self._open()
        with on_signal(self._on_signal):
            self._serve(replier)

    def stop(self, *, grace: float | None = None) -> None:
        """End ``run()`` or the background thread gracefully, from any thread or signal handler. Returns at once."""
        if grace is not None:
            self._grace = checked_grace(grace)
        self._stopping = True
        if self._processes is not None:
            self._processes.stop(grace)
        if self._replier is not None:
            self._replier.loop.wake()

    def close(self, *, grace: float | None = None) -> None:
        """Stop and wait until the server has: at most ``grace`` seconds if handlers still run; not within one of them. Idempotent."""
        if self._fork.forked:
            return
        self.stop(grace=grace)
        thread = self._thread
        if self._replier is None or self._replier.mine:
            return
        if thread is not None and thread is not threading.current_thread():
            thread.join(self._grace + 5.0)
            self._thread = None

    def __enter__(self) -> Self:
        replier = self._open()
        self._thread = threading.Thread(target=self._serve, args=(replier,), name=f"zpatterns-{self.name}", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _open(self) -> BlockingReplier:
        self._fork.check()
        if self._replier is not None:
            raise Closed("this server was started already; make a new one to start again")
        check_served(self)
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
        work = HandlerWork(self._exceptions, self._limits)
        self._replier = BlockingReplier(
            machine,
            pump,
            work,
            threads=self._thread_count,
            name=f"zpatterns-{self.name}-handler",
        )
        log.info("server %s answers at %s", self.name, self._address)
        return self._replier

    def _serve(self, replier: BlockingReplier) -> None:
        try:
            replier.serve(lambda: self._stopping, lambda: self._grace)
        finally:
            replier.close()
            log.info("server %s has stopped", self.name)

    def _on_signal(self, name: str) -> None:
        if self._stopping and self._replier is not None:
            self._replier.hurried = True
        else:
            log.info("%s: stopping; once more stops at once", name)
        self.stop()
