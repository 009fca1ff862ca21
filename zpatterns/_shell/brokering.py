"""What both worlds' brokers are made of, and what puts a client or a worker behind one: machines, sockets, operations."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from random import random
from time import monotonic
from typing import Any, Literal

from ..core.broker_peers import Misplaced, Worker, WorkerChanged
from ..core.broker_report import report
from ..core.dead_letters import DeadLetter
from ..core.load_balancer import Balancer, LeastLoaded, LeastRecentlyUsed
from ..core.majordomo_broker import MajordomoBroker
from ..core.majordomo_worker import MajordomoWorker
from ..core.replier import Replier
from ..drive import sockets
from ..drive.memory import MemoryRouter
from ..drive.ports import Dealer, Router
from ..drive.pump import Pump
from ..drive.sockets import Context
from ..endpoint import Endpoint, Insecure
from ..errors import ConfigurationError
from ..policy import Heartbeat, Limits, SocketOptions
from .binding import Handler, bind
from .guards import checked_endpoint
from .handlers import Handlers, rules_of
from .opening import checked_service, spelled
from .operations import operations
from .work import HandlerWork

log: logging.Logger = logging.getLogger("zpatterns")

Balance = Literal["least recently used", "least loaded"]
_BALANCERS: Mapping[str, Callable[[], Balancer[Worker]]] = {
    "least recently used": LeastRecentlyUsed[Worker],
    "least loaded": LeastLoaded[Worker],
}
_INLINE_CREDIT = 64
"""Requests that a worker takes at once if its handlers run on its loop: enough to keep it busy, few enough to share out."""


class Behind:
    """The brokers a worker serves, and how much of them it takes at once."""

    def __init__(self, backends: str | Sequence[str], name: str, credit: int | None, security: Insecure | None) -> None:
        self.texts: list[str] = spelled(backends)
        self._service = checked_service(name)
        if credit is not None and credit < 1:
            raise ConfigurationError(f"credit={credit}: a worker takes at least one request at a time")
        self._credit = credit
        self._checked = [checked_endpoint(text, bind=False, security=security) for text in self.texts]

    def pump(
        self,
        replier: Replier,
        handlers: Mapping[str | None, Handler],
        *,
        threads: int,
        limits: Limits,
        heartbeat: Heartbeat,
        options: SocketOptions,
        context: Context | None,
    ) -> Pump:
        """The machine in front of a server's replier, and its sockets, connecting."""
        machine = MajordomoWorker(
            replier,
            len(self._checked),
            service=self._service,
            credit=min(self._credit or _credit_of(handlers, threads, limits), limits.intake, limits.peer_queue, 65_536),
            random=random,
            heartbeat=heartbeat,
            options=options,
        )
        dealers: list[Dealer] = []
        try:
            for endpoint in self._checked:
                dealers.append(Dealer(context or sockets.default_context(), endpoint, options, limits))
        except BaseException:
            for dealer in dealers:
                dealer.close(0)
            raise
        return Pump(machine, dealers, limits)


def _credit_of(handlers: Mapping[str | None, Handler], threads: int, limits: Limits) -> int:
    """As many requests as handlers of any one kind can run at once: more would wait here while other workers are idle.

    A broker does not know which method is of which kind, so the kind that runs the fewest counts.
    """
    own = [handler for name, handler in handlers.items() if name is None or not name.startswith("zp.")]
    if any(not handler.on_loop for handler in own):
        return threads
    return _INLINE_CREDIT if any(not handler.is_async for handler in own) else limits.concurrency


def server_pump(
    machine: Replier,
    behind: Behind | None,
    handlers: Mapping[str | None, Handler],
    *,
    endpoint: Endpoint | None,
    port: Router | MemoryRouter | None,
    threads: int,
    limits: Limits,
    heartbeat: Heartbeat,
    options: SocketOptions,
    context: Context | None,
) -> tuple[Pump, str]:
    """The sockets of a server, and its real address: one that binds, in memory, or those that connect to brokers."""
    context = context or sockets.default_context()
    if behind is not None:
        pump = behind.pump(
            machine,
            handlers,
            threads=threads,
            limits=limits,
            heartbeat=heartbeat,
            options=options,
            context=context,
        )
        return pump, ", ".join(behind.texts)
    if port is None:
        assert endpoint is not None
        port = Router(context, endpoint, options, limits)
    return Pump(machine, [port], limits), port.address


class BrokerParts:
    """A broker's machine, its sockets and its own methods; made when it starts."""

    def __init__(
        self,
        frontend: Endpoint,
        backend: Endpoint | None,
        *,
        name: str,
        balance: Balance,
        dialect: Literal["majortomo"] | None,
        limits: Limits,
        heartbeat: Heartbeat,
        options: SocketOptions,
        context: Context | None,
    ) -> None:
        started = monotonic()
        handlers = Handlers(name, "0", None)
        rules = rules_of(_operations(handlers, lambda: self.machine, started))
        own = Replier(rules, incarnation=os.urandom(8), limits=limits, heartbeat=heartbeat)
        self.machine: MajordomoBroker = MajordomoBroker(
            1 if backend is None else 2,
            own=own,
            limits=limits,
            heartbeat=heartbeat,
            balancer=_BALANCERS[balance],
            majortomo=dialect == "majortomo",
        )
        self.work: HandlerWork = HandlerWork({}, limits)
        context = context or sockets.default_context()
        routers = [Router(context, frontend, options, limits)]
        try:
            if backend is not None:
                routers.append(Router(context, backend, options, limits))
        except BaseException:
            routers[0].close(0)
            raise
        self.frontend: str = routers[0].address
        self.backend: str = routers[-1].address
        self.pump: Pump = Pump(self.machine, routers, limits)


def check_broker(
    balance: str, dialect: str | None, frontend: str, backend: str | None, security: Insecure | None
) -> tuple[Endpoint, Endpoint | None]:
    """Refuse at construction what could not be opened later."""
    if balance not in _BALANCERS:
        raise ConfigurationError(f"balance={balance!r}: one of {', '.join(map(repr, _BALANCERS))}")
    if dialect not in (None, "majortomo"):
        raise ConfigurationError(f"dialect={dialect!r}: only 'majortomo' is known beside those of the RFCs")
    front = checked_endpoint(frontend, bind=True, security=security)
    if backend is None:
        return front, None
    return front, checked_endpoint(backend, bind=True, security=security)


def _operations(
    handlers: Handlers, machine: Callable[[], MajordomoBroker], started: float
) -> dict[str | None, Handler]:
    """The ``zp.*`` methods of a broker: those of every server, with what a broker has to tell."""
    methods = operations(handlers, lambda: machine().own, started)

    def identity() -> dict[str, Any]:
        return {"name": handlers.name, "id": machine().own.incarnation.hex(), "version": handlers.version}

    def info() -> dict[str, Any]:
        services = machine().exchange.directory.services.values()
        names = {service.name.decode(errors="replace"): len(service.workers) for service in services}
        return {**identity(), "endpoints": [], "plain": False, "services": names}

    def stats() -> dict[str, Any]:
        broker, now = machine(), monotonic()
        return {
            **identity(),
            "uptime": now - started,
            "queued": sum(service.waiting for service in broker.exchange.directory.services.values()),
            "running": broker.running,
            **asdict(broker.statistics),
            "services": [asdict(each) for each in report(broker.exchange, now)],
        }

    def health() -> dict[str, Any]:
        return {**identity(), "status": "NOT_SERVING" if machine().draining else "SERVING"}

    def dead_letters() -> list[dict[str, Any]]:
        return [_described(letter) for letter in machine().exchange.dead_letters.list()]

    for function in (info, stats, health, dead_letters):
        kind = list[dict[str, Any]] if function is dead_letters else dict[str, Any]
        function.__annotations__ = {"return": kind}
        methods[f"zp.{function.__name__}"] = bind(function, name=f"zp.{function.__name__}", always=True)
    return methods


def _described(letter: DeadLetter) -> dict[str, Any]:
    service = letter.service.decode(errors="replace")
    return {"id": letter.id.hex(), "service": service, "method": letter.method, "deliveries": letter.deliveries}


def changed(event: WorkerChanged | Misplaced) -> None:
    """A worker came or went, or somebody is at the wrong port."""
    if isinstance(event, Misplaced):
        log.warning("broker: %s", event.reason)
        return
    verb = "serves" if event.up else "no longer serves"
    log.info("worker %s %s %r: %s", event.worker.hex(), verb, event.service, event.reason)
