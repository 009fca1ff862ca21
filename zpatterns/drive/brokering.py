"""The broker on the blocking driver: an owner turns its loop for its whole life, on a thread of its own or the caller's."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

from ..core.broker_peers import Misplaced, WorkerChanged
from ..core.jobs import Job
from ..core.majordomo_broker import MajordomoBroker
from ..core.staffing import Awaited, Staffing
from ..errors import Closed, RequestTimeout
from .blocking import Loop
from .owner import Owner
from .pump import Pump
from .relay import waiter
from .replying import PARTING, Work, finish


def ends(machine: MajordomoBroker) -> int:
    """Of how many requests clients were told the end."""
    counts = machine.statistics
    return counts.answered + counts.refused + counts.expired + counts.outcome_unknown + counts.dead


class BlockingBroker:
    """One broker and its loop. ``work`` runs its own ``zp.*`` methods; ``changed`` hears of workers, on the loop."""

    def __init__(
        self,
        machine: MajordomoBroker,
        pump: Pump,
        work: Work,
        *,
        name: str,
        changed: Callable[[WorkerChanged | Misplaced], None],
    ) -> None:
        self.machine = machine
        self.grace: float = 0.0
        self.hurried: bool = False
        """Set from anywhere (then wake the loop) to give up the grace."""
        self._staffing = Staffing(machine.exchange.directory)
        self._work = work
        self._changed = changed
        self._loop = Loop(pump, self._deliver, works=True)
        self.owner: Owner = Owner(self._loop, name, last=self._last)

    def wait(self, service: bytes, count: int, timeout: float) -> int:
        """Until a service has so many workers; how many it has. Raises RequestTimeout with what there was."""
        until = monotonic() + timeout
        lock = waiter()
        awaited = Awaited(service, count, lock)
        if not self.owner.call(self._staffing.wait, awaited) and not lock.acquire(
            timeout=max(0.0, until - monotonic())
        ):
            raise too_few(self.owner.call(self._staffing.give_up, awaited), awaited, timeout)
        if self.owner.stopping:
            raise Closed("the broker has stopped")
        return self.owner.call(self._staffing.count, service)

    def _last(self, error: BaseException | None) -> None:
        """Finish what workers have within the grace; then tell whoever waits, and every worker."""
        machine, loop = self.machine, self._loop
        for awaited in self._staffing.waiting:
            awaited.application.release()
        self._staffing.waiting.clear()
        if error is not None:
            return
        before = ends(machine)
        machine.stop()
        until = monotonic() + self.grace
        while machine.running and monotonic() < until and not self.hurried:
            loop.turn(lambda: not machine.running, until)
        machine.abort()
        loop.flush()
        if ends(machine) != before:
            sleep(PARTING)

    def _deliver(self, event: Any) -> None:
        kind = event.__class__
        if kind is Job:
            finish(self.machine.own, event, self._work.answer(event))
        elif kind is Misplaced:
            self._changed(event)
        elif kind is WorkerChanged:
            self._changed(event)
            for awaited in self._staffing.changed():
                awaited.application.release()


def too_few(there: int, awaited: Awaited, timeout: float) -> RequestTimeout:
    """What whoever waited for workers is told."""
    name = awaited.service.decode()
    return RequestTimeout(
        f"{there} of {awaited.count} workers of {name!r} within {timeout} s; do they run, and with this backend?",
        sent=False,
    )
