"""What one turn of the broker gives to its workers and answers to its clients: in few messages where they read batches."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import Status
from ..wire.message import BATCHES
from . import compose, dialects, verdicts
from .broker_peers import BrokerStatistics, Client, Pending, Speech, Worker
from .machine import Frame
from .outlet import Outlet

_AGED = 0.005
"""Seconds a request may have waited without its budget being written anew: as long as a busy network takes."""


class Speaking:
    """``outlets`` by port. ``nobody`` is whoever a dead letter that is given out again is answered to."""

    __slots__ = ("_answering", "_error_text", "_giving", "_incarnation", "_outlets", "_statistics", "nobody")

    def __init__(
        self, outlets: Sequence[Outlet], statistics: BrokerStatistics, incarnation: bytes, error_text: int
    ) -> None:
        self.nobody: Client = Client(0, b"")
        self._outlets = outlets
        self._statistics = statistics
        self._incarnation = incarnation
        self._error_text = error_text
        self._giving: dict[Worker, None] = {}
        self._answering: dict[Client, None] = {}

    def give(self, worker: Worker, pendings: Sequence[Pending], now: float) -> None:
        """Requests for a worker, their budgets as they are now; with the others of this turn if that pays."""
        ours, tick = worker.ours, worker.tick
        for pending in pendings:
            body = pending.body
            header = pending.header
            if header is None or not ours:
                self._outlets[worker.port].put(dialects.to_worker(worker, pending.id, body))
                continue
            waited = now - pending.at
            front = dialects.aged(header, waited) if waited > _AGED else body[0]
            if len(body) == 2:
                payload = body[1]
                if type(payload) is bytes and len(payload) <= compose.BATCH_ITEM:
                    tick.append((pending.id, front, payload))  # type: ignore[arg-type]
                    continue
            self._outlets[worker.port].put(dialects.to_worker(worker, pending.id, (front, *body[1:])))
        if tick:
            self._giving[worker] = None

    def tell(self, worker: Worker, pending: Pending, frames: Sequence[Frame]) -> None:
        """CANCEL or CREDIT for a worker of ours; it does not overtake the request itself."""
        self._give_now(worker)
        self._outlets[worker.port].put(dialects.to_worker(worker, pending.id, frames))

    def withdraw(self, worker: Worker) -> set[bytes]:
        """A worker is gone: the requests it was given in this turn have not left."""
        items, worker.tick = worker.tick, []
        self._giving.pop(worker, None)
        return {item[0] for item in items}

    def answer(self, pending: Pending, body: Sequence[Frame], *, final: bool) -> None:
        """An answer, or a part of one; with the others of this turn if that pays."""
        client = pending.client
        pending.answered = True
        if client is self.nobody:
            return
        if pending.flags & BATCHES and len(body) == 2 and type(body[1]) is bytes and len(body[1]) <= compose.BATCH_ITEM:
            self.answer_later(client, pending, bytes(body[0]), body[1])
            return
        frames = dialects.to_client(pending, body, final=final)
        if frames is None:
            self._statistics.untold += 1
        else:
            self._answer_now(client)  # no part overtakes another
            self._outlets[client.port].put(frames)

    def say(self, pending: Pending, status: Status, text: str, flags: int, *, of: bytes = b"") -> None:
        """The broker's own words, to clients that have an ear for them; ``of``: an incarnation to try instead."""
        limit = self._error_text
        if pending.header is not None:
            body: tuple[bytes, ...] = dialects.error(
                status, text, flags | pending.flags & BATCHES, of or self._incarnation, limit
            )
        elif len(pending.path) == 2 and pending.speech is Speech.MDP01:  # with a request id, so ours
            body = (verdicts.plain(status, text, limit),)
        else:
            self._statistics.untold += 1
            return
        self.answer(pending, body, final=True)

    def answer_later(self, client: Client, pending: Pending, header: bytes, payload: bytes) -> None:
        """At the end of this turn, with the others."""
        answers = client.answers.get(pending.service)
        if answers is None:
            answers = client.answers[pending.service] = []
            self._answering[client] = None
        answers.append((pending.id, header, payload))

    def flush(self) -> None:
        """The turn is over."""
        if self._giving:
            for worker in self._giving:
                self._give_now(worker)
            self._giving.clear()
        if self._answering:
            for client in self._answering:
                self._answer_now(client)
            self._answering.clear()

    def _give_now(self, worker: Worker) -> None:
        if worker.tick:
            items, worker.tick = worker.tick, []
            put = self._outlets[worker.port].put
            for frames in dialects.batches_to(worker, items):
                put(frames)

    def _answer_now(self, client: Client) -> None:
        if client.answers:
            answers, client.answers = client.answers, {}
            put = self._outlets[client.port].put
            for service, items in answers.items():
                for frames in dialects.batches_for(client.routing_id, service.name, items):
                    put(frames)
