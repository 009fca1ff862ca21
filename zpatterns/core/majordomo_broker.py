"""The broker: named services, their workers, and requests that outlive them. 7/MDP, 18/MDP, 8/MMI, 6/PPP, simple pirate.

It tells every peer's protocol by its frames, and carries bodies unopened. What happens to one request is ``exchange``;
here is who is who, who is alive, and what is answered to whom. Invariants, asserted by the simulation at every step:

* every request that was received ends exactly once: answered, refused, expired, cancelled, abandoned, lost, or dead;
* a request is at no more than one worker, in one line, or in none: never in two places;
* only the worker that has a request answers it, and what it answers goes to that request's client alone;
* a worker has never more requests than its credit: one, for a worker that is not ours;
* a request that was taken and lost goes to another worker only if it is idempotent, at most ``deliveries`` times;
* no request waits while a worker of its service has room, and no table or queue is longer than its limit;
* no typed request waits for a name that nobody has served for an ``expiry``, nor while the broker stops;
* nothing that a peer sends raises; a worker that is unknown, or breaks the rules, is told DISCONNECT and nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..errors import DecodeError, Status
from ..policy import FOREIGN_HEARTBEAT, Heartbeat, Limits
from ..wire import majordomo as mdp, message as w, paranoid_pirate as pirate
from . import bursts
from .broker_peers import BrokerStatistics, Misplaced, Speech, Worker
from .exchange import Exchange
from .load_balancer import Balancer, LeastRecentlyUsed
from .machine import Frame, Frames, Link, Sent
from .outlet import Outlet
from .replier import Replier
from .unserved import Unserved
from .workforce import PIRATES, SPEECH, Workforce, addresses


class MajordomoBroker:
    """Port 0 is the frontend and port 1 the backend; with ``ports=1`` both are one.

    ``own`` answers typed requests that name no service: its rules are the broker's ``zp.*`` methods. Its events and its
    messages are this machine's.
    """

    def __init__(
        self,
        ports: int = 2,
        *,
        own: Replier,
        limits: Limits | None = None,
        heartbeat: Heartbeat | None = None,
        foreign: Heartbeat = FOREIGN_HEARTBEAT,
        balancer: Callable[[], Balancer[Worker]] = LeastRecentlyUsed,
        majortomo: bool = False,
    ) -> None:
        limits = limits or Limits()
        self.own: Replier = own
        self.events: deque[Any] = own.events
        self.outbox: deque[tuple[int, Frames, Any]] = own.outbox
        self.statistics: BrokerStatistics = BrokerStatistics()
        self.draining: bool = False
        self.stopping: bool = False
        self._heartbeat = heartbeat or Heartbeat()
        self._majortomo = majortomo
        self._backend = ports - 1
        self._outlets = [Outlet(limits.peer_queue, self.statistics, self.outbox, port) for port in range(ports)]
        self.exchange: Exchange = Exchange(
            self._outlets,
            incarnation=own.incarnation,
            limits=limits,
            statistics=self.statistics,
            balancer=balancer,
        )
        self.unserved: Unserved = Unserved(self.exchange, patience=self._heartbeat.expiry, most=limits.services)
        self._workforce = Workforce(
            self.exchange,
            self._outlets[-1],
            self.events,
            limits=limits,
            heartbeat=self._heartbeat,
            foreign=foreign,
            unserved=self.unserved,
            statistics=self.statistics,
        )
        self.workers: dict[bytes, Worker] = self._workforce.workers
        """By routing id at the backend."""

        self._told: set[str] = set()

    expects: bool = True
    """A message can come at any time."""

    # -- in -----------------------------------------------------------------------------------------------------

    def receive(self, port: int, frames: Frames, now: float) -> None:
        """A message came: its routing id first. Garbage is counted."""
        if self._workforce.beat_at is None:
            self._begin(now)
        try:
            self._receive(port, bytes(frames[0]), frames, now)
        except DecodeError:
            self.statistics.undecodable += 1

    def _receive(self, port: int, routing_id: bytes, frames: Frames, now: float) -> None:
        count = len(frames)
        if count > 4 and not len(frames[1]):
            header = frames[2]
            if header == mdp.W01:
                if count > 6 and frames[3] == mdp.REPLY and not len(frames[5]) and port == self._backend:
                    self._workforce.worked(routing_id, frames[4], frames[6:], now)
                else:
                    self._hear_worker(port, routing_id, frames[1:], now)
                return
            if header == mdp.C01:
                self._serve(port, routing_id, (b"",), Speech.MDP01, frames[3], frames[4:], now)
                return
        elif count > 5 and not len(frames[2]) and frames[3] == mdp.C01:
            self._serve(port, routing_id, (bytes(frames[1]), b""), Speech.MDP01, frames[4], frames[5:], now)
            return
        self._receive_other(port, routing_id, frames[1:], now)

    def _receive_other(self, port: int, routing_id: bytes, frames: Frames, now: float) -> None:
        """What is not a full message of 7/MDP."""
        dialect = mdp.recognise(frames)
        if dialect is mdp.Dialect.MAJORTOMO and not self._majortomo:
            raise DecodeError("a dialect that was not asked for", frames=frames)
        if dialect is None:
            self._receive_bare(port, routing_id, frames, now)
        elif frames[0 if dialect is mdp.Dialect.MDP02 else 1] in (mdp.W01, mdp.W02):
            self._hear_worker(port, routing_id, frames, now)
        else:
            request = mdp.read_request(frames)
            speech = SPEECH[request.dialect]
            path = () if speech is Speech.MDP02 else (b"",)
            self._serve(port, routing_id, path, speech, request.service, request.body, now)

    def _receive_bare(self, port: int, routing_id: bytes, frames: Frames, now: float) -> None:
        """No Majordomo: a pirate, or a client that names no service; at a port for both, a pirate if it can be one."""
        if port == self._backend and self._workforce.is_pirate(routing_id, frames):
            self._workforce.hear_pirate(routing_id, pirate.read(frames), now)
            return
        if not frames or (port == self._backend and port):
            raise DecodeError("no message of a worker", frames=frames)
        at = next((at for at, frame in enumerate(frames) if not len(frame)), -1)
        path, body = tuple(bytes(frame) for frame in frames[: at + 1]), frames[at + 1 :]
        if not body:
            raise DecodeError("a message without a body", frames=frames)
        if w.is_typed(body[0]):
            self.own.receive(port, (routing_id, *frames), now)
        else:
            self._request(port, routing_id, path, Speech.BARE, PIRATES, None, body, now)

    def _misplaced(self, reason: str) -> DecodeError:
        """It will try again for as long as it lives: its owner is told once."""
        if reason not in self._told:
            self._told.add(reason)
            self.events.append(Misplaced(reason))
        return DecodeError(reason)

    def _hear_worker(self, port: int, routing_id: bytes, frames: Frames, now: float) -> None:
        if port != self._backend:
            raise self._misplaced("a worker is at the frontend; workers connect to the backend")
        self._workforce.hear(routing_id, mdp.read_worker(frames), now)

    # -- clients ------------------------------------------------------------------------------------------------

    def _serve(
        self,
        port: int,
        routing_id: bytes,
        path: Sequence[bytes],
        speech: Speech,
        service: Frame,
        body: Frames,
        now: float,
    ) -> None:
        name = bytes(service)
        if not 0 < len(name) <= 255:
            raise DecodeError("a service has a name of 1 to 255 bytes", frames=body)
        if name.startswith(mdp.MMI_PREFIX):
            self._mmi(port, routing_id, path, speech, name, body)
            return
        if port == self._backend and port:
            raise self._misplaced("a client is at the backend; clients connect to the frontend")
        header = None
        if len(body) > 1 and w.is_typed(body[0]):
            command = w.parse(body[0])
            kind = type(command)
            if kind is w.Request:
                header = command
            elif kind is w.Batch and path == (b"",):
                self._serve_batch(port, routing_id, name, bursts.triples(w.decode_batch(command, body[1])), now)
                return
            else:
                self._control(port, routing_id, path, command, body)
                return
        self._request(port, routing_id, path, speech, name, header, body, now)  # type: ignore[arg-type]

    def _serve_batch(self, port: int, routing_id: bytes, name: bytes, items: Iterable[bursts.Item], now: float) -> None:
        directory = self.exchange.directory
        service = directory.services.get(name)
        if service is not None and service.workers and not self.draining:
            items = bursts.requests(self.exchange, directory.client(port, routing_id), service, items, now)
        for request_id, *body in items:
            path, command = (request_id, b""), w.parse(body[0])
            if type(command) is w.Request:
                self._request(port, routing_id, path, Speech.MDP01, name, command, body, now)
            else:
                self._control(port, routing_id, path, command, body)

    def _control(self, port: int, routing_id: bytes, path: Sequence[bytes], command: w.Command, body: Frames) -> None:
        client = self.exchange.directory.clients[port].get(routing_id)
        if len(path) != 2 or not isinstance(command, w.Cancel | w.Credit):
            raise DecodeError("a header that asks for nothing here", frames=body)
        if client is not None:
            act = self.exchange.cancel if isinstance(command, w.Cancel) else self.exchange.credit
            act(client, path[0], body)

    def _request(
        self,
        port: int,
        routing_id: bytes,
        path: Sequence[bytes],
        speech: Speech,
        name: bytes,
        header: w.Request | None,
        body: Frames,
        now: float,
    ) -> None:
        exchange = self.exchange
        service = exchange.directory.services.get(name)
        refusal: tuple[Status, str] | None = None
        if self.draining:
            refusal = Status.UNAVAILABLE, "the broker is stopping, or drained"
        elif service is None or not service.workers:
            refusal = self.unserved.refusal(name, now, typed=header is not None)
        client = exchange.directory.client(port, routing_id)
        service = service or exchange.directory.service(name)
        exchange.request(client, path, service, speech, header, body, now, refusal)
        if refusal is None and not service.workers:
            self.unserved.watch(service)

    def _mmi(
        self, port: int, routing_id: bytes, path: Sequence[bytes], speech: Speech, name: bytes, body: Frames
    ) -> None:
        """8/MMI."""
        self.statistics.mmi += 1
        code = mdp.NOT_IMPLEMENTED
        if name == mdp.MMI_SERVICE:
            service = self.exchange.directory.services.get(bytes(body[0]))
            code = mdp.FOUND if service is not None and service.workers else mdp.NOT_FOUND
        elif name == mdp.MMI_ZPATTERNS:
            code = mdp.FOUND
        dialect = mdp.Dialect.MDP01
        if speech is not Speech.MDP01:
            dialect = mdp.Dialect.MDP02 if speech is Speech.MDP02 else mdp.Dialect.MAJORTOMO
        request_id = path[0] if len(path) == 2 else b""
        reply = mdp.Reply(dialect, name, (code,), id=request_id)
        self._outlets[port].put((routing_id, *mdp.write(reply)))

    # -- the driver ---------------------------------------------------------------------------------------------

    def dispatch(self, now: float) -> None:
        """The sockets are drained: give out what workers have room for."""
        self.exchange.dispatch(now)
        self.own.dispatch(now)

    def flush(self, now: float) -> None:
        """Write what this turn gave, answered and said."""
        if self._workforce.beat_at is None:
            self._begin(now)
        self.exchange.dispatch(now)
        self.exchange.flush()
        if self._outlets[-1].lost:
            self._workforce.lose_deaf(now)
            self.exchange.dispatch(now)
            self.exchange.flush()
        self.own.flush(now)

    def link(self, port: int, state: Link, now: float) -> None:
        """A ROUTER has many peers and is told nothing about one: nothing to do."""

    def sent(self, token: Any, outcome: Sent, now: float) -> None:
        """Kept for a peer that is full; one that is gone is lost."""
        port: int = token[0]
        frames: Frames = token[1]
        outlet = self._outlets[port]
        if outcome is Sent.FULL:
            outlet.full(frames, now)
            return
        routing_id = bytes(frames[0])
        unsent = [frames, *outlet.blocked.get(routing_id, ())]
        outlet.gone(frames)
        worker = self.workers.get(routing_id) if port == self._backend else None
        if worker is not None:
            self._workforce.lose(worker, "its connection is gone", now, untaken=addresses(unsent))
        else:
            self.exchange.client_gone(port, routing_id)

    def wake(self, now: float) -> None:
        """Requests whose time is over, workers that are silent, heartbeats that are due, peers that may read again."""
        self.exchange.wake(now)
        self.unserved.wake(now)
        if self._workforce.wake(now):
            self.exchange.directory.sweep(now, self._heartbeat.expiry)
        for outlet in self._outlets:
            outlet.wake(now)
        self.own.wake(now)

    @property
    def wakes_at(self) -> float | None:
        """No later than any of these."""
        workforce = self._workforce
        times = [self.exchange.timers.wakes_at, self.unserved.wakes_at, self.own.wakes_at]
        times += [workforce.liveness.wakes_at, workforce.beat_at]
        times += [outlet.retry_at for outlet in self._outlets]
        return min((at for at in times if at is not None), default=None)

    def _begin(self, now: float) -> None:
        self.unserved.began_at = now
        self._workforce.beat_at = now + self._heartbeat.interval

    # -- operations ---------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take no new requests; those that are here go on."""
        self.draining = True

    def resume(self) -> None:
        """Take requests again."""
        self.draining = self.stopping

    def stop(self) -> None:
        """Take nothing more; what no worker has is refused, so that callers try another broker."""
        self.draining = self.stopping = self._workforce.closed = True
        self.exchange.close()
        self.own.stop()

    @property
    def running(self) -> int:
        """Requests that workers have, and requests to the broker itself."""
        return len(self.exchange.pending) + self.own.running

    def abort(self) -> None:
        """The end: callers of what is still under way are told, and so is every worker."""
        self.exchange.abandon()
        self._workforce.dismiss()
        self.own.abort()

    def replay(self, letter_id: bytes, now: float) -> bool:
        """Give a dead letter out again; False when it is not there."""
        letter = self.exchange.dead_letters.take(letter_id)
        if letter is not None:
            self.exchange.replay(letter, now)
        return letter is not None
