"""The workers of a broker: who said READY, in which protocol, who is alive, who breaks the rules. Their requests are the exchange's."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from ..errors import DecodeError
from ..policy import Heartbeat, Limits
from ..wire import majordomo as mdp, message as w, paranoid_pirate as pirate
from . import bursts, dialects
from .broker_peers import BrokerStatistics, Speech, Worker, WorkerChanged
from .exchange import Exchange
from .liveness import Liveness
from .machine import Frame, Frames
from .outlet import Outlet
from .unserved import Unserved

PIRATES = b""
"""The service without a name: workers of the pirates offer it, clients that name none want it."""
SPEECH: dict[mdp.Dialect | pirate.Kind, Speech] = {
    mdp.Dialect.MDP01: Speech.MDP01,
    mdp.Dialect.MDP02: Speech.MDP02,
    mdp.Dialect.MAJORTOMO: Speech.MAJORTOMO,
    pirate.Kind.PARANOID: Speech.PARANOID,
    pirate.Kind.SIMPLE: Speech.SIMPLE,
}


class Workforce:
    """All workers, at the backend's ``outlet``."""

    def __init__(
        self,
        exchange: Exchange,
        outlet: Outlet,
        events: deque[Any],
        *,
        limits: Limits,
        heartbeat: Heartbeat,
        foreign: Heartbeat,
        unserved: Unserved,
        statistics: BrokerStatistics,
    ) -> None:
        self.workers: dict[bytes, Worker] = {}
        """By routing id."""
        self.statistics: BrokerStatistics = statistics
        self.closed: bool = False
        """Take no further worker."""
        self.beat_at: float | None = None
        self.liveness: Liveness[Worker] = Liveness()
        self._exchange = exchange
        self._outlet = outlet
        outlet.lost = []
        self._events = events
        self._limits = limits
        self._heartbeat = heartbeat
        self._foreign = foreign
        self._unserved = unserved

    def worked(self, routing_id: bytes, address: Frame, body: Frames, now: float) -> None:
        """A REPLY of 7/MDP; from ours, maybe many in one."""
        worker = self.workers.get(routing_id)
        if worker is None:
            self.disconnect(routing_id, Speech.MDP01)
            return
        worker.heard_at = now
        if worker.speech is not Speech.MDP01:
            raise DecodeError("another protocol than this worker began with", frames=body)
        if len(address):
            self._exchange.result(worker, bytes(address), body, now, final=True)
            worker.paced(1, now)
            return
        if not worker.ours or len(body) != 2:
            raise DecodeError("a reply to no address", frames=body)
        flat = w.decode_batch(w.parse(body[0]), body[1])
        bursts.results(self._exchange, worker, bursts.triples(flat), now)
        worker.paced(len(flat) // 3, now)

    def hear(
        self, routing_id: bytes, command: mdp.Ready | mdp.Result | mdp.Heartbeat | mdp.Disconnect, now: float
    ) -> None:
        """Any command of a Majordomo worker."""
        speech = SPEECH[command.dialect]
        worker = self.workers.get(routing_id)
        if isinstance(command, mdp.Ready):
            self._ready(routing_id, speech, command.service, now)
        elif isinstance(command, mdp.Disconnect):
            if worker is not None:
                untaken = None if worker.ours and worker.draining else frozenset[bytes]()
                self.lose(worker, "it said DISCONNECT", now, untaken=untaken)
        elif worker is None or worker.speech is not speech:
            if worker is not None:
                self.lose(worker, "it changed its protocol", now)
            self.disconnect(routing_id, speech)
        else:
            worker.heard_at = now
            if isinstance(command, mdp.Result):
                self._exchange.result(worker, command.address, command.body, now, final=command.final)
            elif len(command.about):
                about = w.parse(command.about)
                if isinstance(about, w.Capacity):
                    self._capacity(worker, about)

    def hear_pirate(self, routing_id: bytes, command: pirate.Command, now: float) -> None:
        """Any message of a pirate."""
        worker = self.workers.get(routing_id)
        if isinstance(command, pirate.Ready):
            if worker is None:
                self._ready(routing_id, SPEECH[command.kind], PIRATES, now)
            else:  # it has started anew: what it had is lost
                self.lose(worker, "it said READY again", now)
                self._ready(routing_id, SPEECH[command.kind], PIRATES, now)
        elif worker is None:
            raise DecodeError("a heartbeat of a worker that never was ready")  # 6/PPP: to be ignored
        else:
            worker.heard_at = now
            if isinstance(command, pirate.Work):
                if worker.speech is not SPEECH[command.kind]:
                    raise DecodeError("another pirate than it began as", frames=command.body)
                self._exchange.result(worker, command.address, command.body, now, final=True)

    def _ready(self, routing_id: bytes, speech: Speech, name: bytes, now: float) -> None:
        worker = self.workers.get(routing_id)
        if worker is not None:
            self.lose(worker, "it said READY twice", now)
            self.disconnect(routing_id, speech)
            return
        full = len(self.workers) >= self._limits.workers
        if name.startswith(mdp.MMI_PREFIX) or full or self.closed:
            self.disconnect(routing_id, speech)
            return
        worker = Worker(self._outlet.port, routing_id, speech, self._exchange.directory.service(name), now)
        if speech is not Speech.SIMPLE:
            worker.quiet_patience = max(self._foreign.expiry, self._heartbeat.expiry)
        worker.busy_patience = max(self._limits.busy_silence, self._foreign.expiry)
        self.workers[routing_id] = worker
        self._exchange.joined(worker)
        if speech is not Speech.SIMPLE:
            self.liveness.watch(worker)
        self._changed(worker, "it is ready", up=True)

    def _capacity(self, worker: Worker, capacity: w.Capacity) -> None:
        first = not worker.ours
        worker.draining = not capacity.credit
        self._exchange.capacity(worker, capacity.credit, capacity.incarnation)
        if first:
            worker.quiet_patience = worker.busy_patience = self._heartbeat.expiry
            self.liveness.watch(worker)

    def lose(self, worker: Worker, reason: str, now: float, *, untaken: frozenset[bytes] | None = frozenset()) -> None:
        """Its conversation is over; what it had goes on without it."""
        self.statistics.workers_lost += 1
        del self.workers[worker.routing_id]
        self.liveness.forget(worker)
        self._exchange.gone(worker, now, untaken=untaken)
        self._unserved.watch(worker.service)
        self._changed(worker, reason, up=False)

    def _changed(self, worker: Worker, reason: str, *, up: bool) -> None:
        name = worker.service.name.decode(errors="replace")
        self._events.append(WorkerChanged(name, worker.routing_id, up, reason))

    def disconnect(self, routing_id: bytes, speech: Speech) -> None:
        """7/MDP: the answer to whoever breaks the rules."""
        frames = dialects.disconnect(routing_id, speech)
        if frames is not None:
            self.statistics.disconnected += 1
            self._outlet.put(frames)

    def is_pirate(self, routing_id: bytes, frames: Frames) -> bool:
        """Whether a message without any Majordomo is one of a pirate, here or about to be."""
        known = self.workers.get(routing_id)
        if known is not None:
            return known.speech in (Speech.PARANOID, Speech.SIMPLE)
        if len(frames) == 1:
            return bytes(frames[0]) in (pirate.READY, pirate.HEARTBEAT)
        return len(frames) == 2 and not len(frames[0]) and bytes(frames[1]) in (pirate.READY, pirate.READY_TEXT)

    def wake(self, now: float) -> bool:
        """Workers that are silent, and heartbeats that are due; True when they were."""
        for worker in self.liveness.silent(now):
            self.lose(worker, f"silent for {now - worker.heard_at:.1f} s", now)
        if self.beat_at is None or now < self.beat_at:
            return False
        self.beat_at = now + self._heartbeat.interval
        for worker in self.workers.values():
            frames = dialects.heartbeat(worker)
            if frames is not None and worker.routing_id not in self._outlet.blocked:  # it does not read anyhow
                self._outlet.put(frames)
        return True

    def lose_deaf(self, now: float) -> None:
        """Requests that there was no room to keep for a worker that does not read: it would never answer them."""
        lost = self._outlet.lost
        while lost:
            routing_id = bytes(lost[-1][0])
            unsent = [frames for frames in lost if frames[0] == routing_id]
            lost[:] = [frames for frames in lost if frames[0] != routing_id]
            worker = self.workers.get(routing_id)
            if worker is not None:
                unsent += self._outlet.blocked.pop(routing_id, ())
                self.lose(worker, "it does not read", now, untaken=addresses(unsent))
                self.disconnect(routing_id, worker.speech)

    def dismiss(self) -> None:
        """The broker ends: every worker is told."""
        for worker in self.workers.values():
            self.disconnect(worker.routing_id, worker.speech)


def addresses(messages: Sequence[Frames]) -> frozenset[bytes]:
    """The addresses of requests that never left: of single ones, and of those in batches."""
    found: set[bytes] = set()
    for frames in messages:
        rest = frames[1:]
        if len(rest) > 6 and rest[1] == mdp.W01 and not len(rest[3]):
            found.update(w.decode_batch(w.parse(rest[5]), rest[6])[::3])
        else:
            at = next((at for at, frame in enumerate(rest) if at and not len(frame)), 0)
            if at:
                found.add(bytes(rest[at - 1]))
    return frozenset(found)
