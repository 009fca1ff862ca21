"""Requests and answers that come many in one message: what the exchange does to one of them, in loops without calls.

Only the usual ones are dealt with here; whatever needs a rule is handed to the exchange, which has them all. A test has
both do the same work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..wire import message as w
from . import compose
from .broker_peers import Client, Pending, Service, Speech, Worker
from .exchange import Exchange

Item = tuple[bytes, bytes, bytes]
"""Id, header and payload."""


def triples(flat: Sequence[bytes]) -> Iterator[Item]:
    """The items of a batch."""
    return zip(flat[::3], flat[1::3], flat[2::3], strict=True)


def requests(exchange: Exchange, client: Client, service: Service, items: Iterable[Item], now: float) -> list[Item]:
    """New requests for a service that has workers. Returns those that are not usual: controls, those with more to their header
    than a method and a budget, those that are here already, and what there is no room for.
    """
    room = exchange.room(client, service)
    here = exchange.pending
    taken: list[Pending] = []
    left: list[Item] = []
    front, header, expires_at = b"", None, 0.0
    for item in items:
        if item[1] != front:
            front = item[1]
            known = w.parsed.get(front)
            header = known if type(known) is w.Request and not known.extra else None
            expires_at = now + header.budget / 1000 if header is not None else 0.0
        request_id = item[0]
        if header is None or request_id in here or len(taken) >= room:
            left.append(item)
            continue
        pending = Pending(
            request_id, client, (request_id, b""), service, Speech.MDP01, header, (front, item[2]), now, expires_at
        )
        here[request_id] = pending
        taken.append(pending)
    if taken:
        exchange.entered(client, service, taken)
    return left


def results(exchange: Exchange, worker: Worker, items: Iterable[Item], now: float) -> None:
    """A worker of ours answers."""
    jobs, here, timers = worker.jobs, exchange.pending, exchange.timers
    latencies = worker.service.latencies
    answer = exchange.speaking.answer_later
    answered = alike = 0
    front, final, at = b"", False, 0.0
    for item in items:
        if item[1] != front:
            front = item[1]
            final = type(w.parsed.get(front)) is w.Final
        address, _, payload = item
        pending = jobs.get(address)
        if (
            pending is None
            or not final
            or pending.done
            or not pending.flags & w.BATCHES
            or len(payload) > compose.BATCH_ITEM
        ):
            exchange.result(worker, address, item[1:], now, final=True)
            continue
        del jobs[address]
        del here[address]
        timers.remove(pending)
        client = pending.client
        client.pending -= 1
        pending.done = True
        answer(client, pending, front, payload)
        answered += 1
        if pending.at != at:
            latencies.add(now - at, alike)
            at, alike = pending.at, 0
        alike += 1
    latencies.add(now - at, alike)
    exchange.answered(worker, answered)
