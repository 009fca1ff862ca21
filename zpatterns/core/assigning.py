"""Which worker gets what waits: whoever's turn it is, as much as it may have in one go, from clients in turn."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from ..wire.message import STREAM
from .broker_peers import NEW, TAKEN, BrokerStatistics, Pending, Service, Worker
from .speaking import Speaking
from .timers import Timers


class Assigning:
    """``timers`` has every request that has an end."""

    __slots__ = ("_speaking", "_statistics", "_timers", "touched")

    def __init__(self, speaking: Speaking, timers: Timers[Pending], statistics: BrokerStatistics) -> None:
        self.touched: dict[Service, None] = {}
        """Services whose requests or workers have changed since the last ``dispatch``."""
        self._speaking = speaking
        self._timers = timers
        self._statistics = statistics

    def dispatch(self, now: float) -> list[Pending]:
        """Give workers what they have room for. Returns requests whose time is over, and that nobody was given."""
        expired: list[Pending] = []
        for service in self.touched:
            balancer = service.balancer
            while service.waiting:
                worker = balancer.next()
                if worker is None:
                    break
                taken = service.take(max(1, min(worker.share, worker.credit - len(worker.jobs))))
                ready = [pending for pending in taken if pending.expires_at > now]
                if len(ready) < len(taken):
                    expired += [pending for pending in taken if pending.expires_at <= now]
                self._assign(worker, ready, now)
            if service.pinned:
                self._dispatch_pinned(service, now)
        self.touched.clear()
        return expired

    def _dispatch_pinned(self, service: Service, now: float) -> None:
        for worker in service.workers.values():
            while worker.pinned and len(worker.jobs) < worker.credit:
                pending = worker.pinned.popleft()
                if not pending.done:
                    unpin(pending)
                    self._assign(worker, [pending], now)

    def _assign(self, worker: Worker, pendings: Sequence[Pending], now: float) -> None:
        jobs = worker.jobs
        if not jobs:
            worker.since = now
        self._statistics.delivered += len(pendings)
        worker.delivered += len(pendings)
        for pending in pendings:
            if pending.deliveries or pending.refusals:
                self._statistics.redelivered += 1
            pending.worker = worker
            pending.state = TAKEN
            pending.deliveries += 1
            jobs[pending.id] = pending
            if pending.flags & STREAM and pending.header is not None and worker.ours:
                self._untime(pending, pending.header.extra.get("deadline"))
        worker.service.balancer.used(worker)
        self._speaking.give(worker, pendings, now)

    def _untime(self, pending: Pending, deadline: int | None) -> None:
        """Its budget was for the wait: from here on the reader of a stream shows life to the worker."""
        if deadline is None:
            pending.expires_at = inf
            self._timers.remove(pending)
        else:
            pending.expires_at = pending.at + deadline / 1000
            self._timers.set(pending, pending.expires_at)


def unpin(pending: Pending) -> None:
    """A request for one worker alone waits no longer."""
    pending.state = NEW
    pending.service.pinned -= 1
    pending.client.waiting -= 1
