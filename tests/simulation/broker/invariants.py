"""The invariants that the docstring of core/majordomo_broker.py lists, asserted from inside after every turn of its loop."""

from __future__ import annotations

from zpatterns.core.broker_peers import NEW, PINNED, TAKEN, WAITING
from zpatterns.core.majordomo_broker import MajordomoBroker
from zpatterns.drive.virtual import VirtualLoop


def watch(loop: VirtualLoop) -> None:
    """The broker is at rest between two turns."""
    machine = loop.machine
    assert type(machine) is MajordomoBroker
    assert not machine.outbox and not machine.events, "unsent or untold"
    exchange, limits, s = machine.exchange, machine.exchange.limits, machine.statistics
    pending = exchange.pending
    ended = s.answered + s.refused + s.expired + s.cancelled + s.abandoned + s.outcome_unknown + s.dead
    assert s.received == ended + len(pending), f"received and ended differ: {s} {len(pending)}"
    places: dict[bytes, int] = {}
    waiting_of: dict[object, int] = {}
    assert len(machine.workers) <= limits.workers
    wakes_at = machine.wakes_at
    assert wakes_at is not None and machine._workforce.beat_at is not None
    for worker in machine.workers.values():
        assert worker.ours or worker.credit == 1, "more than one for a strict worker"
        assert worker.draining or len(worker.jobs) <= worker.credit, "more than its credit"
        assert worker.service.workers[worker.port, worker.routing_id] is worker, "a worker of no service"
        assert not worker.tick, "given and not sent"
        for request_id, each in worker.jobs.items():
            assert each.id == request_id
            if not each.done:
                assert each.worker is worker and each.state == TAKEN, "a worker has what is elsewhere"
                places[request_id] = places.get(request_id, 0) + 1
        for each in worker.pinned:
            if not each.done:
                assert each.state == PINNED
                places[each.id] = places.get(each.id, 0) + 1
                waiting_of[each.client] = waiting_of.get(each.client, 0) + 1
    unserved = 0
    for service in exchange.directory.services.values():
        live = 0
        for line in service.turns:
            assert service.lines[line.client] is line, "a line that nobody knows"
            ended_here = sum(1 for each in line.jobs if each.done)
            assert ended_here == line.ended, f"ended in line: {ended_here} {line.ended}"
            for each in line.jobs:
                if not each.done:
                    assert each.state == WAITING and each.client is line.client, "in the wrong line"
                    live += 1
                    places[each.id] = places.get(each.id, 0) + 1
                    waiting_of[each.client] = waiting_of.get(each.client, 0) + 1
        if not service.workers and any(each.header is not None for each in service.queue()):
            assert wakes_at <= machine.unserved.until(service), "waits for a name that nobody serves any more"
        assert not (machine.stopping and service.waiting), "waits for a broker that stops"
        assert len(service.turns) == len(service.lines)
        assert live == service.waiting, f"waiting miscounted: {live} {service.waiting}"
        assert service.waiting + service.pinned <= limits.service_queue + sum(
            1 for e in pending.values() if e.worker is not None
        ), "more wait than may, not counting those that came back from a worker"
        assert not service.waiting or service.balancer.next() is None, "it waits, and a worker has room"
        unserved += not service.workers
        for worker in service.workers.values():
            assert machine.workers[worker.routing_id] is worker, "a service has a worker that is gone"
    assert exchange.directory.unserved == unserved, "services without workers miscounted"
    for request_id, each in pending.items():
        assert not each.done and each.id == request_id and each.state != NEW, "nowhere"
        assert places.get(request_id) == 1, f"in {places.get(request_id)} places: {each.state}"
        assert (each.state == TAKEN) <= each.deliveries <= limits.deliveries, "given out too often, or not counted"
        assert each.due or each.stream, "no time is kept for it"
        assert each.stream or wakes_at <= each.expires_at, "sleeps over a deadline"
    assert len(places) == len(pending), "somewhere, and not here"
    for clients in exchange.directory.clients:
        for client in clients.values():
            assert client.waiting == waiting_of.get(client, 0), "a client's queue miscounted"
            assert client.pending == sum(1 for each in pending.values() if each.client is client)
            assert not client.answers, "answered and not sent"
    for outlet in machine._outlets:
        for kept in outlet.blocked.values():
            assert len(kept) <= limits.peer_queue, "too many messages kept"
        assert not outlet.blocked or outlet.retry_at is not None, "kept and never tried again"


def at_rest(machine: MajordomoBroker) -> None:
    """Nothing happens any more: nothing is left."""
    assert not machine.exchange.pending, "requests are left"
    assert not any(machine.exchange.timers._slots.values()), "a timer is left"
    for worker in machine.workers.values():
        assert not [each for each in worker.jobs.values() if not each.done], "a worker has something"
