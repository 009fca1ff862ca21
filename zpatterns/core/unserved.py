"""Names that nobody serves: how long a request waits for a worker to come (back), and what it is told when none does.

Workers find a broker that was restarted, and a worker that was restarted finds its broker, within a heartbeat's expiry:
until then a name without workers may only be between two. 7/MDP has requests wait; clients of ours want to know.
"""

from __future__ import annotations

from math import inf

from ..errors import Status
from .broker_peers import Service, Speech
from .exchange import Exchange
from .timers import Timers


class Unserved:
    """``patience``: seconds from the broker's start, and from the loss of a service's last worker; ``most`` names."""

    __slots__ = ("_exchange", "_most", "_patience", "_timers", "began_at")

    def __init__(self, exchange: Exchange, *, patience: float, most: int) -> None:
        self.began_at: float = inf
        self._exchange = exchange
        self._patience = patience
        self._most = most
        self._timers: Timers[Service] = Timers()

    def until(self, service: Service | None) -> float:
        """When there is no more hope of a worker."""
        last = self.began_at if service is None else max(self.began_at, service.served_at)
        return last + self._patience

    def refusal(self, name: bytes, now: float, *, typed: bool) -> tuple[Status, str] | None:
        """Why a request for a service without workers is not taken."""
        directory = self._exchange.directory
        service = directory.services.get(name)
        if typed and self.until(service) <= now:
            return Status.NOT_FOUND, _nobody(name)
        if service is None and directory.unserved >= self._most:
            return Status.RESOURCE_EXHAUSTED, "requests wait for too many services that nobody serves (Limits.services)"
        return None

    def watch(self, service: Service) -> None:
        """It has no worker, and something may wait for one."""
        at = self.until(service)
        if not service.workers and service.due != at:
            self._timers.set(service, at)

    def wake(self, now: float) -> None:
        """The patience with some services is over."""
        for service in self._timers.expired(now):
            if service.workers:
                continue
            for pending in service.queue():
                # A dead letter that was given out again has a header, too: it waits as long as it was said to.
                if pending.header is not None and pending.speech is not Speech.BARE:
                    self._exchange.turn_away(pending, Status.NOT_FOUND, _nobody(service.name))

    @property
    def wakes_at(self) -> float | None:
        """No later than the first of these times."""
        return self._timers.wakes_at


def _nobody(name: bytes) -> str:
    return f"no worker serves {name.decode(errors='replace')!r}"
