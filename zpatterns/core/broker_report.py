"""What an operator wants to know of a broker: its services and workers, in numbers. Reads the exchange, changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from .broker_peers import Service, Worker
from .exchange import Exchange


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """One worker, as its broker sees it."""

    id: str
    """Its routing id, hex."""
    protocol: str
    ours: bool
    """It takes several requests at once, and cancels."""
    incarnation: str
    credit: int
    in_flight: int
    delivered: int
    answered: int
    heard: float
    """Seconds since it last showed life."""
    up: float
    """Seconds since it said READY."""


@dataclass(frozen=True, slots=True)
class ServiceReport:
    """One service."""

    name: str
    waiting: int
    """Requests that no worker has."""
    oldest: float
    """Seconds that the first of them has waited."""
    received: int
    answered: int
    lost: int
    """Outcome unknown: lost with their worker."""
    p50: float
    """Seconds from arrival to answer, the median of all since the start."""
    p99: float
    workers: tuple[WorkerReport, ...]


def report(exchange: Exchange, now: float) -> list[ServiceReport]:
    """Every service, by name."""
    services = exchange.directory.services
    return [_service(services[name], now) for name in sorted(services)]


def _service(service: Service, now: float) -> ServiceReport:
    oldest = service.oldest()
    return ServiceReport(
        name=service.name.decode(errors="replace"),
        waiting=service.waiting + service.pinned,
        oldest=now - oldest if oldest is not None else 0.0,
        received=service.received,
        answered=service.answered,
        lost=service.lost,
        p50=service.latencies.percentile(0.5),
        p99=service.latencies.percentile(0.99),
        workers=tuple(_worker(worker, now) for worker in service.workers.values()),
    )


def _worker(worker: Worker, now: float) -> WorkerReport:
    return WorkerReport(
        id=worker.routing_id.hex(),
        protocol=worker.speech.value,
        ours=worker.ours,
        incarnation=worker.incarnation.hex(),
        credit=worker.credit,
        in_flight=len(worker.jobs),
        delivered=worker.delivered,
        answered=worker.answered,
        heard=now - worker.heard_at,
        up=now - worker.joined_at,
    )
