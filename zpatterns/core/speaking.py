"""What one turn of the broker gives to its workers and answers to its clients: in few messages where they read batches."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import Status
from . import compose, dialects, verdicts
from .broker_peers import BrokerStatistics, Client, Pending, Speech, Worker
from .machine import Frame
from .outlet import Outlet


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

    def give(self, worker: Worker, pending: Pending, front: Frame) -> None:
        """A request for a worker, its header as it is now; with the others of this turn if that pays."""
        body = pending.body
        if worker.ours and pending.header is not None and len(body) == 2:
            payload = body[1]
            if type(payload) is bytes and len(payload) <= compose.BATCH_ITEM:
                worker.tick.append((pending.id, front, payload))  # type: ignore[arg-type]
                self._giving[worker] = None
                return
        self._outlets[worker.port].put(dialects.to_worker(worker, pending.id, (front, *body[1:])))

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
        if pending.batches and len(body) == 2 and type(body[1]) is bytes and len(body[1]) <= compose.BATCH_ITEM:
            client.answers.append((pending, bytes(body[0]), body[1]))
            self._answering[client] = None
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
                status, text, flags | pending.batches, of or self._incarnation, limit
            )
        elif len(pending.path) == 2 and pending.speech is Speech.MDP01:  # with a request id, so ours
            body = (verdicts.plain(status, text, limit),)
        else:
            self._statistics.untold += 1
            return
        self.answer(pending, body, final=True)

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
            answers, client.answers = client.answers, []
            put = self._outlets[client.port].put
            for frames in dialects.batches_for(answers):
                put(frames)
