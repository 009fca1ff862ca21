"""The asyncio ``Broker``: as the blocking one, on the running loop."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from types import TracebackType
from typing import Literal, Self

from .._shell.arguments import checked_count, checked_grace, chosen
from .._shell.brokering import Balance, BrokerParts, changed, check_broker
from .._shell.calls import wait_seconds
from .._shell.guards import ForkGuard
from .._shell.loops import check_loop
from .._shell.opening import checked_service
from .._shell.stopping import Stopping
from ..core.broker_peers import BrokerStatistics
from ..core.broker_report import ServiceReport, report
from ..core.dead_letters import DeadLetter
from ..drive.abrokering import AsyncBroker
from ..drive.sockets import Context
from ..endpoint import Insecure
from ..errors import Closed
from ..policy import DEFAULT_GRACE, DEFAULT_TIMEOUT, Heartbeat, Limits, SocketOptions

log: logging.Logger = logging.getLogger("zpatterns")


class Broker:
    """``zpatterns.Broker`` for asyncio: same arguments and rules, on the running loop."""

    def __init__(
        self,
        frontend: str,
        backend: str | None = None,
        *,
        name: str = "broker",
        balance: Balance = "least recently used",
        dialect: Literal["majortomo"] | None = None,
        grace: float = DEFAULT_GRACE,
        limits: Limits | None = None,
        heartbeat: Heartbeat | None = None,
        options: SocketOptions | None = None,
        security: Insecure | None = None,
        context: Context | None = None,
    ) -> None:
        self._texts = (frontend, backend or frontend)
        self._checked = check_broker(balance, dialect, frontend, backend, security)
        self._balance: Balance = balance
        self._dialect: Literal["majortomo"] | None = dialect
        self._limits = chosen(limits, Limits)
        self._heartbeat = chosen(heartbeat, Heartbeat)
        self._options = chosen(options, SocketOptions)
        self._context = context
        self.name = name
        self._fork = ForkGuard("Broker")
        self._parts: BrokerParts | None = None
        self._broker: AsyncBroker | None = None
        self._stopping = Stopping()
        self._grace = checked_grace(grace)

    @property
    def frontend(self) -> str:
        """Where clients connect: the real address once the broker has started, port * resolved."""
        return self._parts.frontend if self._parts is not None else self._texts[0]

    @property
    def backend(self) -> str:
        """Where workers connect."""
        return self._parts.backend if self._parts is not None else self._texts[1]

    @property
    def statistics(self) -> BrokerStatistics:
        """Counters since the broker was started."""
        return self._parts.machine.statistics if self._parts is not None else BrokerStatistics()

    def services(self) -> list[ServiceReport]:
        """Every service and its workers, in numbers. Raises Closed while the broker does not run."""
        return report(self._running().machine.exchange, monotonic())

    def dead_letters(self) -> list[DeadLetter]:
        """Requests that were lost with ``limits.deliveries`` workers, oldest first."""
        return self._running().machine.exchange.dead_letters.list()

    def replay(self, letter: DeadLetter) -> bool:
        """Give a dead letter out again; nobody is told of its answer. False when it is not kept (any more)."""
        broker = self._running()
        found = broker.machine.replay(letter.id, monotonic())
        broker.touched()
        return found

    def drain(self) -> None:
        """Take no new requests (clients with another broker go there); those that are here go on."""
        self._running().machine.drain()

    def resume(self) -> None:
        """Take requests again."""
        self._running().machine.resume()

    async def wait_for_workers(self, service: str, /, count: int = 1, timeout: float = DEFAULT_TIMEOUT) -> int:
        """As ``zpatterns.Broker.wait_for_workers``."""
        return await self._running().wait(
            checked_service(service), checked_count("count", count), wait_seconds(timeout)
        )

    def run(self, *, grace: float | None = None) -> None:
        """Serve on a loop of its own until SIGINT or SIGTERM; see ``zpatterns.Broker.run``."""
        asyncio.run(self.serve(grace=grace, signals=True))

    async def serve(self, *, grace: float | None = None, signals: bool = False) -> None:
        """Serve until ``stop()`` is called or the task is cancelled; ``signals=True`` stops on SIGINT and SIGTERM too."""
        if grace is not None:
            self._grace = checked_grace(grace)
        self._open()
        await self._stopping.serve(self._finish, self._close_now, signals=signals)

    def stop(self, *, grace: float | None = None) -> None:
        """End ``serve()`` gracefully. Call it on the loop, or with ``loop.call_soon_threadsafe``. Returns at once."""
        if grace is not None:
            self._grace = checked_grace(grace)
        self._stopping.asked.set()

    async def close(self, *, grace: float | None = None) -> None:
        """Stop: take nothing more, wait up to ``grace`` seconds for workers, tell whoever waits, close. Idempotent."""
        if grace is not None:
            self._grace = checked_grace(grace)
        if self._fork.forked or self._broker is None:
            return
        if self._broker.loop.is_closed():
            self._close_now()
            return
        check_loop(self._broker.loop, "broker")
        try:
            await self._stopping.end(self._finish)
        finally:
            self._close_now()

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def _finish(self) -> None:
        if self._broker is not None:
            await self._broker.stop(self._grace)

    def _close_now(self) -> None:
        if self._broker is not None and not self._broker.closed:
            self._broker.close()
            log.info("broker %s has stopped", self.name)

    def _running(self) -> AsyncBroker:
        self._fork.check()
        if self._broker is None or self._broker.closed:
            raise Closed("the broker does not run: use run(), serve(), or async with")
        check_loop(self._broker.loop, "broker")
        return self._broker

    def _open(self) -> None:
        self._fork.check()
        if self._broker is not None:
            raise Closed("this broker was started already; make a new one to start again")
        check_loop(None, "broker")
        parts = self._parts = BrokerParts(
            *self._checked,
            name=self.name,
            balance=self._balance,
            dialect=self._dialect,
            limits=self._limits,
            heartbeat=self._heartbeat,
            options=self._options,
            context=self._context,
        )
        self._broker = AsyncBroker(parts.machine, parts.pump, parts.work, changed=changed)
        self._broker.broken = self._stopping.broke
        log.info("broker %s: clients at %s, workers at %s", self.name, parts.frontend, parts.backend)
