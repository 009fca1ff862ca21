"""The requests in a broker's hands: who waits, who has what, and what becomes of it. It knows peers, not how they came.

Its rules are the broker's (``majordomo_broker``); this file is what happens to one request from its arrival to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from ..errors import DecodeError, Status
from ..policy import Limits
from ..wire import message as w
from . import dialects
from .broker_peers import NEW, PINNED, TAKEN, WAITING, BrokerStatistics, Client, Pending, Service, Speech, Worker
from .dead_letters import DeadLetter, DeadLetters
from .directory import Directory, some_incarnation
from .load_balancer import Balancer
from .machine import Frame
from .outlet import Outlet
from .speaking import Speaking
from .timers import Timers

_AGED = 0.005
"""Seconds a request may have waited without its budget being written anew: as long as a busy network takes."""
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
        self._speaking = Speaking(outlets, statistics, incarnation, limits.error_text)
        self._limits = limits
        self._incarnation = incarnation
        self._counter = 0
        self._touched: dict[Service, None] = {}
        self._untimed: list[Pending] = []

    # -- who is there -------------------------------------------------------------------------------------------

    def joined(self, worker: Worker) -> None:
        """A worker is ready."""
        service = worker.service
        service.workers[worker.port, worker.routing_id] = worker
        service.balancer.freed(worker)
        self._touched[service] = None

    def capacity(self, worker: Worker, credit: int, incarnation: bytes) -> None:
        """A worker says what it takes."""
        worker.ours, worker.credit = True, credit
        if worker.incarnation != incarnation:
            self.directory.incarnations.pop(worker.incarnation, None)
            worker.incarnation = incarnation
            self.directory.incarnations[incarnation] = worker
        worker.service.balancer.freed(worker)
        self._touched[worker.service] = None

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
        limits = self._limits
        over = now + (header.budget / 1000 if header is not None else limits.request_expiry)
        pending = Pending(request_id, client, path, service, speech, header, body, now, over)
        self.statistics.received += 1
        service.received += 1
        client.pending += 1
        self.pending[request_id] = pending
        if refusal is not None:
            self.refuse(pending, *refusal)
            return
        if client.waiting >= limits.client_queue or service.waiting + service.pinned >= limits.service_queue:
            text = f"{service.waiting} requests already wait at the broker, {client.waiting} of this client"
            self.refuse(pending, Status.RESOURCE_EXHAUSTED, f"{text} (Limits.client_queue, Limits.service_queue)")
            return
        self._untimed.append(pending)
        wanted = header.extra.get("incarnation") if header is not None and header.extra else None
        if wanted is not None:
            self._pin(pending, wanted)
        else:
            service.put(pending)
        self._touched[service] = None

    def replay(self, letter: DeadLetter, now: float) -> None:
        """Give out a dead letter again, to workers that may do better with it; nobody is told of its answer."""
        header, body = letter.again(self._limits.request_expiry)
        self.request(self._speaking.nobody, (), self.directory.service(letter.service), Speech.BARE, header, body, now)

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
            self._speaking.tell(worker, pending, frames)

    # -- dispatch -----------------------------------------------------------------------------------------------

    def dispatch(self, now: float) -> None:
        """Everything that has come is here: give workers what they have room for."""
        if not self._touched:
            return
        for service in self._touched:
            balancer = service.balancer
            while service.waiting:
                worker = balancer.next()
                if worker is None:
                    break
                pending = service.take()
                if pending.expires_at <= now:
                    self.statistics.expired += 1
                    self._end(pending)
                else:
                    self._assign(worker, pending, now)
            if self.closing:
                for pending in service.queue():
                    self.turn_away(pending, Status.UNAVAILABLE, _STOPPING)
            if service.pinned:
                self._dispatch_pinned(service, now)
        self._touched.clear()

    def _dispatch_pinned(self, service: Service, now: float) -> None:
        for worker in service.workers.values():
            while worker.pinned and len(worker.jobs) < worker.credit:
                pending = worker.pinned.popleft()
                if not pending.done:
                    self._unpin(pending)
                    self._assign(worker, pending, now)

    def _unpin(self, pending: Pending) -> None:
        pending.state = NEW
        pending.service.pinned -= 1
        pending.client.waiting -= 1

    def _assign(self, worker: Worker, pending: Pending, now: float) -> None:
        self.statistics.delivered += 1
        if pending.deliveries or pending.refusals:
            self.statistics.redelivered += 1
        pending.worker = worker
        pending.state = TAKEN
        pending.deliveries += 1
        worker.delivered += 1
        worker.jobs[pending.id] = pending
        worker.service.balancer.used(worker)
        header = pending.header
        if header is None or not worker.ours:
            self._speaking.give(worker, pending, pending.body[0])
            return
        waited = now - pending.at
        self._speaking.give(worker, pending, dialects.aged(header, waited) if waited > _AGED else pending.body[0])
        if pending.stream:  # the budget was for the wait: from here on its reader shows life to the worker
            deadline = header.extra.get("deadline")
            pending.expires_at = inf if deadline is None else pending.at + deadline / 1000
            self._untimed.append(pending)

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
            self._touched[worker.service] = None
        if pending.done:
            self.statistics.late += final
            return
        if final:
            if kind is w.Error and command.flags & w.NOT_TAKEN and self._returned(pending, command.status):  # type: ignore[union-attr]
                return
            self.statistics.answered += 1
            worker.answered += 1
            service = worker.service
            service.answered += 1
            service.latencies.add(now - pending.at)
        self._speaking.answer(pending, body, final=final)
        if final:
            self._end(pending)

    def _returned(self, pending: Pending, status: int) -> bool:
        """A worker did not take it: it goes to another, as often as deliveries may be."""
        if Status(status) not in _ELSEWHERE or pending.refusals + 1 >= self._limits.deliveries:
            return False
        if pending.pinned:
            return False
        pending.refusals += 1
        pending.deliveries -= 1
        self._wait_again(pending)
        return True

    def _wait_again(self, pending: Pending) -> None:
        pending.service.put(pending, first=True)
        self._touched[pending.service] = None

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
        unsent = self._speaking.withdraw(worker)
        jobs, worker.jobs = worker.jobs, {}
        for pending in reversed([each for each in jobs.values() if not each.done]):
            fresh = untaken is None or pending.id in untaken or pending.id in unsent
            self._lost(pending, fresh=fresh)
        pinned, worker.pinned = worker.pinned, type(worker.pinned)()
        for pending in pinned:
            if not pending.done:
                text = "the worker that it was meant for is gone"
                self.refuse(pending, Status.FAILED_PRECONDITION, text, of=some_incarnation(service))
        self._touched[service] = None

    def _lost(self, pending: Pending, *, fresh: bool) -> None:
        if fresh:
            pending.deliveries -= 1
        if (fresh or pending.idempotent) and not pending.answered and not pending.pinned:
            if pending.deliveries < self._limits.deliveries:
                self._wait_again(pending)
                return
            self.statistics.dead += 1
            self.dead_letters.add(pending)
            text = (
                f"given to {pending.deliveries} workers, and each was lost before it answered: it may be what ends them"
            )
            self._speaking.say(pending, Status.ABORTED, text, 0)
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
        self._speaking.say(pending, Status.UNAVAILABLE if again else Status.UNKNOWN, text, w.LOST | w.NOT_TAKEN * again)
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
        self._speaking.say(pending, status, text, w.NOT_TAKEN, of=of)
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
        client.answers = []
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
            self._unpin(pending)

    # -- time ---------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """The turn is over: write what it gave and answered."""
        self._speaking.flush()
        if self._untimed:
            for pending in self._untimed:
                if not pending.done:
                    if pending.expires_at == inf:
                        self.timers.remove(pending)
                    elif pending.due != pending.expires_at:
                        self.timers.set(pending, pending.expires_at)
            self._untimed.clear()

    def wake(self, now: float) -> None:
        """Requests whose time is over: their callers do not wait any more."""
        for pending in self.timers.expired(now):
            self.statistics.expired += 1
            self._end(pending)
