"""The blocking ``Broker``: named services between clients and workers that may die, on one thread."""

from __future__ import annotations

import logging
from time import monotonic
from types import TracebackType
from typing import Literal, Self

from .._shell.arguments import checked_count, checked_grace, chosen
from .._shell.brokering import Balance, BrokerParts, changed, check_broker
from .._shell.calls import wait_seconds
from .._shell.guards import ForkGuard
from .._shell.opening import checked_service
from .._shell.signals import on_signal
from ..core.broker_peers import BrokerStatistics
from ..core.broker_report import ServiceReport, report
from ..core.dead_letters import DeadLetter
from ..drive.brokering import BlockingBroker
from ..drive.sockets import Context
from ..endpoint import Insecure
from ..errors import Closed
from ..policy import DEFAULT_GRACE, DEFAULT_TIMEOUT, Heartbeat, Limits, SocketOptions

log: logging.Logger = logging.getLogger("zpatterns")


class Broker:
    """Gives the requests of any number of clients to any number of workers, by the name of a service.

    ``RequestClient(broker.frontend, service="calc")`` asks, ``ReplyServer.worker(broker.backend, name="calc")`` answers.
    Plain Majordomo and pirate peers of any language are welcome at the same ports (7/MDP, 18/MDP, 8/MMI, 6/PPP);
    ``dialect="majortomo"`` lets in those that write 0.2 as that package does. Without ``backend`` one port serves both.

    A worker that dies, stalls or disconnects loses nothing: what it had goes to another one if the method is
    ``idempotent`` or it was not taken, at most ``limits.deliveries`` times, and is a dead letter then; otherwise the caller
    gets OutcomeUnknown at once. Requests wait in bounded queues (``limits.service_queue``, ``limits.client_queue``:
    Overloaded), clients take turns, and what nobody waits for any more is dropped. Workers are known to live by heartbeats.
    A name that nobody serves is NoSuchService, at once; for ``heartbeat.expiry`` seconds after the start, or after the last
    worker was lost, requests wait for one to come (back).

    ``balance`` chooses among workers with room. ``grace``: seconds that a broker that stops gives workers to answer what
    they have; it waits for none that is known to be gone. Raises ConfigurationError and its kinds when it starts and
    cannot bind.
    """

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
        self._broker: BlockingBroker | None = None
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
        broker = self._running()
        return broker.owner.call(lambda: report(broker.machine.exchange, monotonic()))

    def dead_letters(self) -> list[DeadLetter]:
        """Requests that were lost with ``limits.deliveries`` workers, oldest first. Raises Closed as ``services`` does."""
        broker = self._running()
        return broker.owner.call(broker.machine.exchange.dead_letters.list)

    def replay(self, letter: DeadLetter) -> bool:
        """Give a dead letter out again; nobody is told of its answer. False when it is not kept (any more)."""
        broker = self._running()
        return broker.owner.call(lambda: broker.machine.replay(letter.id, monotonic()))

    def drain(self) -> None:
        """Take no new requests (clients with another broker go there); those that are here go on."""
        broker = self._running()
        broker.owner.call(broker.machine.drain)

    def resume(self) -> None:
        """Take requests again."""
        broker = self._running()
        broker.owner.call(broker.machine.resume)

    def wait_for_workers(self, service: str, /, count: int = 1, timeout: float = DEFAULT_TIMEOUT) -> int:
        """Wait until ``count`` workers serve that name; returns how many do.

        Raises RequestTimeout, which says how many there were, and Closed while the broker does not run.
        """
        return self._running().wait(checked_service(service), checked_count("count", count), wait_seconds(timeout))

    def run(self, *, grace: float | None = None) -> None:
        """Serve until SIGINT or SIGTERM; then take nothing more, wait ``grace`` seconds for workers, tell whoever waits.

        A second signal stops at once. Outside the main thread there are no signals: call ``stop()`` from elsewhere.
        """
        if grace is not None:
            self._grace = checked_grace(grace)
        broker = self._open()
        with on_signal(self._on_signal):
            broker.owner.run()
        log.info("broker %s has stopped", self.name)

    def stop(self, *, grace: float | None = None) -> None:
        """End ``run()`` or the background thread gracefully, from any thread or signal handler. Returns at once."""
        if grace is not None:
            self._grace = checked_grace(grace)
        broker = self._broker
        if broker is not None:
            broker.grace = self._grace
            broker.owner.stop(0)

    def close(self, *, grace: float | None = None) -> None:
        """Stop and wait until the broker has: at most ``grace`` seconds if workers still have requests. Idempotent."""
        if self._fork.forked or self._broker is None:
            return
        self.stop(grace=grace)
        self._broker.owner.stop(self._grace + 5.0)

    def __enter__(self) -> Self:
        self._open().owner.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _running(self) -> BlockingBroker:
        self._fork.check()
        if self._broker is None:
            raise Closed("the broker was not started: use run(), or with")
        return self._broker

    def _open(self) -> BlockingBroker:
        self._fork.check()
        if self._broker is not None:
            raise Closed("this broker was started already; make a new one to start again")
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
        name = f"zpatterns-{self.name}"
        self._broker = BlockingBroker(parts.machine, parts.pump, parts.work, name=name, changed=changed)
        self._broker.grace = self._grace
        log.info("broker %s: clients at %s, workers at %s", self.name, parts.frontend, parts.backend)
        return self._broker

    def _on_signal(self, name: str) -> None:
        if self._broker is not None and self._broker.owner.stopping:
            self._broker.hurried = True
        else:
            log.info("%s: stopping; once more stops at once", name)
        self.stop()
