"""The requests in a broker's hands: who waits, who has what, and what becomes of it. It knows peers, not how they came.

Its rules are the broker's (``majordomo_broker``); this file is what happens to one request from its arrival to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from math import inf

from ..errors import DecodeError, Status
from ..policy import Limits
from ..wire import message as w
from .assigning import Assigning, unpin
from .broker_peers import PINNED, TAKEN, WAITING, BrokerStatistics, Client, Pending, Service, Speech, Worker
from .dead_letters import DeadLetter, DeadLetters
from .directory import Directory, some_incarnation
from .load_balancer import Balancer
from .machine import Frame
from .outlet import Outlet
from .speaking import Speaking
from .timers import Timers

_ELSEWHERE = (Status.UNAVAILABLE, Status.RESOURCE_EXHAUSTED)
"""Refusals that another worker may not give."""
_STOPPING = "the broker is stopping"


class Exchange:
    """``outlets`` by port; ``balancer`` makes one for each service."""

    def __init__(
        self,
        outlets: Sequence[Outlet],
        *,
        incarnation: bytes,
        limits: Limits,
        statistics: BrokerStatistics,
        balancer: Callable[[], Balancer[Worker]],
    ) -> None:
        self.statistics: BrokerStatistics = statistics
        self.directory: Directory = Directory(len(outlets), balancer)
        self.pending: dict[bytes, Pending] = {}
        self.dead_letters: DeadLetters = DeadLetters(limits.dead_letters)
        self.timers: Timers[Pending] = Timers()
        self.closing: bool = False
        """The broker stops: what no worker has room for now goes back."""
        self.speaking: Speaking = Speaking(outlets, statistics, incarnation, limits.error_text)
        self.limits: Limits = limits
        self._incarnation = incarnation
        self._counter = 0
        self._assigning = Assigning(self.speaking, self.timers, statistics)
        self.touched: dict[Service, None] = self._assigning.touched
        self._untimed: list[Pending] = []

    # -- who is there -------------------------------------------------------------------------------------------

    def joined(self, worker: Worker) -> None:
        """A worker is ready."""
        service = worker.service
        self.directory.served += not service.workers
        service.workers[worker.port, worker.routing_id] = worker
        service.balancer.freed(worker)
        self.touched[service] = None

    def capacity(self, worker: Worker, credit: int, incarnation: bytes) -> None:
        """A worker says what it takes."""
        worker.ours, worker.credit = True, credit
        if worker.incarnation != incarnation:
            self.directory.incarnations.pop(worker.incarnation, None)
            worker.incarnation = incarnation
            self.directory.incarnations[incarnation] = worker
        worker.service.balancer.freed(worker)
        self.touched[worker.service] = None

    # -- requests -----------------------------------------------------------------------------------------------

    def request(
        self,
        client: Client,
        path: Sequence[bytes],
        service: Service,
        speech: Speech,
        header: w.Request | None,
        body: Sequence[Frame],
        now: float,
        refusal: tuple[Status, str] | None = None,
    ) -> None:
        """A new request, or one that is here already. ``refusal``: why it is not taken, whatever room there is."""
        request_id = path[0] if len(path) == 2 and len(path[0]) == w.ID_BYTES else b""
        if request_id:
            here = self.pending.get(request_id)
            if here is not None:
                self._again(here, client, path)
                return
        else:
            self._counter += 1
            request_id = self._incarnation[:8] + self._counter.to_bytes(8, "big")
        limits = self.limits
        over = now + (header.budget / 1000 if header is not None else limits.request_expiry)
        pending = Pending(request_id, client, path, service, speech, header, body, now, over)
        self.statistics.received += 1
        service.received += 1
        client.pending += 1
        self.pending[request_id] = pending
        if refusal is not None:
            self.refuse(pending, *refusal)
            return
        if self.room(client, service) <= 0:
            text = f"{service.waiting} requests already wait at the broker, {client.waiting} of this client"
            self.refuse(pending, Status.RESOURCE_EXHAUSTED, f"{text} (Limits.client_queue, Limits.service_queue)")
            return
        self._untimed.append(pending)
        wanted = header.extra.get("incarnation") if header is not None and header.extra else None
        if wanted is not None:
            self._pin(pending, wanted)
        else:
            service.put(pending)
        self.touched[service] = None

    def room(self, client: Client, service: Service) -> int:
        """Requests of this client that may still wait for this service."""
        limits = self.limits
        return min(limits.client_queue - client.waiting, limits.service_queue - service.waiting - service.pinned)

    def entered(self, client: Client, service: Service, pendings: Sequence[Pending]) -> None:
        """New requests, in ``pending`` already, now wait."""
        count = len(pendings)
        self.statistics.received += count
        service.received += count
        client.pending += count
        service.put_all(client, pendings)
        self._untimed += pendings
        self.touched[service] = None

    def replay(self, letter: DeadLetter, now: float) -> None:
        """Give out a dead letter again, to workers that may do better with it; nobody is told of its answer."""
        header, body = letter.again(self.limits.request_expiry)
        self.request(self.speaking.nobody, (), self.directory.service(letter.service), Speech.BARE, header, body, now)

    def _again(self, here: Pending, client: Client, path: Sequence[bytes]) -> None:
        """The same request id: it is not run twice; its answer goes where it came from last."""
        self.statistics.duplicates += 1
        before = here.client
        here.path = path
        if before is client:
            return
        if here.state == WAITING:
            here.service.moved(here, client)
        elif here.state == PINNED:
            before.waiting -= 1
            client.waiting += 1
        before.pending -= 1
        client.pending += 1
        here.client = client

    def _pin(self, pending: Pending, incarnation: bytes) -> None:
        worker = self.directory.incarnations.get(incarnation)
        if worker is None or worker.service is not pending.service or not worker.credit:
            text = "the worker that it was meant for is not here (any more)"
            self.refuse(pending, Status.FAILED_PRECONDITION, text, of=some_incarnation(pending.service))
            return
        pending.state = PINNED
        pending.service.pinned += 1
        pending.client.waiting += 1
        worker.pinned.append(pending)

    def cancel(self, client: Client, request_id: bytes, frames: Sequence[Frame]) -> None:
        """Nobody waits any more: what waits is dropped, a worker of ours is told."""
        pending = self.pending.get(request_id)
        if pending is None or pending.client is not client:
            return
        self.statistics.cancelled += 1
        self._tell(pending, frames)
        self._end(pending)

    def credit(self, client: Client, request_id: bytes, frames: Sequence[Frame]) -> None:
        """The reader of a stream has room."""
        pending = self.pending.get(request_id)
        if pending is not None and pending.client is client:
            self._tell(pending, frames)

    def _tell(self, pending: Pending, frames: Sequence[Frame]) -> None:
        worker = pending.worker
        if pending.state == TAKEN and worker is not None and worker.ours:
            self.speaking.tell(worker, pending, frames)

    # -- dispatch -----------------------------------------------------------------------------------------------

    def dispatch(self, now: float) -> None:
        """Everything that has come is here: give workers what they have room for."""
        if self.touched:
            services = [*self.touched] if self.closing else ()
            self._expire(self._assigning.dispatch(now))
            for service in services:
                for pending in service.queue():
                    self.turn_away(pending, Status.UNAVAILABLE, _STOPPING)

    # -- results ------------------------------------------------------------------------------------------------

    def result(self, worker: Worker, address: bytes, body: Sequence[Frame], now: float, *, final: bool) -> None:
        """A worker answers; only what it was given counts."""
        pending = worker.jobs.get(address)
        if pending is None:
            self.statistics.late += 1
            return
        command = None
        if worker.ours and len(body) > 1 and w.is_typed(body[0]):
            try:
                command = w.parse(body[0])
            except DecodeError:
                self.statistics.undecodable += 1  # its client will see what is wrong
        kind = type(command)
        if kind is w.Partial:
            final = False
        if final:
            del worker.jobs[address]
            worker.service.balancer.freed(worker)
            self.touched[worker.service] = None
        if pending.done:
            self.statistics.late += final
            return
        if final:
            if kind is w.Error and command.flags & w.NOT_TAKEN and self._returned(pending, command.status):  # type: ignore[union-attr]
                return
            self.answered(worker, 1)
            worker.service.latencies.add(now - pending.at)
        self.speaking.answer(pending, body, final=final)
        if final:
            self._end(pending)

    def answered(self, worker: Worker, count: int) -> None:
        """It has answered so many, and has their room again."""
        self.statistics.answered += count
        worker.answered += count
        worker.service.answered += count
        worker.service.balancer.freed(worker)
        self.touched[worker.service] = None

    def _returned(self, pending: Pending, status: int) -> bool:
        """A worker did not take it: it goes to another, as often as deliveries may be."""
        if Status(status) not in _ELSEWHERE or pending.refusals + 1 >= self.limits.deliveries:
            return False
        if pending.pinned:
            return False
        pending.refusals += 1
        pending.deliveries -= 1
        self._wait_again(pending)
        return True

    def _wait_again(self, pending: Pending) -> None:
        pending.service.put(pending, first=True)
        self.touched[pending.service] = None

    # -- endings ------------------------------------------------------------------------------------------------

    def gone(self, worker: Worker, now: float, *, untaken: frozenset[bytes] | None = frozenset()) -> None:
        """A worker is lost. ``untaken``: what it certainly never had, None for all; the rest may have run."""
        service = worker.service
        worker.lost = True
        service.balancer.remove(worker)
        del service.workers[worker.port, worker.routing_id]
        if self.directory.incarnations.get(worker.incarnation) is worker:
            del self.directory.incarnations[worker.incarnation]
        if not service.workers:
            service.served_at = now
            self.directory.served -= 1
        unsent = self.speaking.withdraw(worker)
        jobs, worker.jobs = worker.jobs, {}
        for pending in reversed([each for each in jobs.values() if not each.done]):
            fresh = untaken is None or pending.id in untaken or pending.id in unsent
            self._lost(pending, fresh=fresh)
        pinned, worker.pinned = worker.pinned, type(worker.pinned)()
        for pending in pinned:
            if not pending.done:
                text = "the worker that it was meant for is gone"
                self.refuse(pending, Status.FAILED_PRECONDITION, text, of=some_incarnation(service))
        self.touched[service] = None

    def _lost(self, pending: Pending, *, fresh: bool) -> None:
        if fresh:
            pending.deliveries -= 1
        if (fresh or pending.idempotent) and not pending.answered and not pending.pinned:
            if pending.deliveries < self.limits.deliveries:
                self._wait_again(pending)
                return
            self.statistics.dead += 1
            self.dead_letters.add(pending)
            text = (
                f"given to {pending.deliveries} workers, and each was lost before it answered: it may be what ends them"
            )
            self.speaking.say(pending, Status.ABORTED, text, 0)
            self._end(pending)
        elif fresh:
            self.refuse(pending, Status.FAILED_PRECONDITION, "its worker is gone", of=some_incarnation(pending.service))
        else:
            self._unknown(pending, "its worker was lost before it answered")

    def _unknown(self, pending: Pending, text: str) -> None:
        """A worker took it. What may run twice may be sent again: another broker may do better."""
        self.statistics.outcome_unknown += 1
        pending.service.lost += 1
        again = pending.idempotent and not pending.answered
        self.speaking.say(pending, Status.UNAVAILABLE if again else Status.UNKNOWN, text, w.LOST | w.NOT_TAKEN * again)
        self._end(pending)

    def turn_away(self, pending: Pending, status: Status, text: str) -> None:
        """It waits, and no worker will have it: it was not taken, or was lost with the worker that had it."""
        if pending.deliveries:
            self._unknown(pending, f"its worker was lost before it answered, and {text}")
        else:
            self.refuse(pending, status, text)

    def refuse(self, pending: Pending, status: Status, text: str, *, of: bytes = b"") -> None:
        """It is not taken."""
        self.statistics.refused += 1
        self.speaking.say(pending, status, text, w.NOT_TAKEN, of=of)
        self._end(pending)

    def close(self) -> None:
        """The broker stops: everything that waits goes back."""
        self.closing = True
        for pending in [each for each in self.pending.values() if each.state != TAKEN]:
            self.turn_away(pending, Status.UNAVAILABLE, _STOPPING)

    def abandon(self) -> None:
        """The grace is over: what workers have is lost to its callers."""
        for pending in list(self.pending.values()):
            self._unknown(pending, "the broker stopped before the worker answered")

    def client_gone(self, port: int, routing_id: bytes) -> None:
        """A client does not exist any more: what it may not come back for is dropped; streams are stopped."""
        client = self.directory.clients[port].get(routing_id)
        if client is None or not client.pending:
            return
        client.answers = {}
        for pending in [each for each in self.pending.values() if each.client is client]:
            if pending.stream or not pending.idempotent or pending.header is None:
                self.statistics.abandoned += 1
                self._tell(pending, (w.CANCEL_HEADER, b""))
                self._end(pending)

    def _end(self, pending: Pending) -> None:
        """The one place where a request ends. What a worker has of it still takes its room there."""
        pending.done = True
        del self.pending[pending.id]
        self.timers.remove(pending)
        pending.client.pending -= 1
        if pending.state == WAITING:
            pending.service.left(pending)
        elif pending.state == PINNED:
            unpin(pending)

    # -- time ---------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """The turn is over: write what it gave and answered."""
        self.speaking.flush()
        if self._untimed:
            fresh = [each for each in self._untimed if not (each.done or each.due or each.expires_at == inf)]
            self._untimed.clear()
            for expires_at, together in groupby(fresh, _expires_at):
                self.timers.enter([*together], expires_at)

    def wake(self, now: float) -> None:
        """Requests whose time is over: their callers do not wait any more."""
        self._expire(self.timers.expired(now))

    def _expire(self, pendings: Iterable[Pending]) -> None:
        for pending in pendings:
            self.statistics.expired += 1
            self._end(pending)


def _expires_at(pending: Pending) -> float:
    return pending.expires_at
