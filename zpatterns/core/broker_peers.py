"""A request in the broker's hands, its client, a worker, a service: data, and the order in which requests wait. No frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf

from ..wire.message import BATCHES, IDEMPOTENT, STREAM, Request
from .latencies import Latencies
from .load_balancer import Balancer
from .machine import Frame


class Speech(Enum):
    """What a peer is spoken to in; learned from what it said first."""

    MDP01 = "7/MDP 0.1"
    MDP02 = "18/MDP 0.2"
    MAJORTOMO = "majortomo"
    PARANOID = "6/PPP"
    SIMPLE = "simple pirate"
    BARE = "no Majordomo at all"
    """A client that names no service: a REQ, or a DEALER with or without an address stack."""


class Client:
    """A peer that has requests here: known by its port and routing id."""

    __slots__ = ("answers", "pending", "port", "routing_id", "waiting")

    def __init__(self, port: int, routing_id: bytes) -> None:
        self.port: int = port
        self.routing_id: bytes = routing_id
        self.waiting: int = 0
        """Its requests that no worker has."""
        self.pending: int = 0
        """All its requests."""
        self.answers: dict[Service, list[tuple[bytes, bytes, bytes]]] = {}
        """What this turn answers in one message for each service: id, header, payload."""


SHARE: int = 32
"""Requests that a worker is given in one go at most."""
_SHARE_SECONDS = 0.002
"""As many as it answers in this time: by so much a request may come later than if another worker had got it."""

NEW, WAITING, PINNED, TAKEN = 0, 1, 2, 3
"""Where a request is: nowhere yet, in a line of its service, in the line of one worker alone, at a worker."""


class Pending:
    """One request, from its arrival to exactly one end."""

    __slots__ = (
        "answered", "at", "body", "client", "deliveries", "done", "due", "expires_at", "flags", "header", "id", "path",
        "refusals", "service", "speech", "state", "worker",
    )  # fmt: skip

    def __init__(
        self,
        request_id: bytes,
        client: Client,
        path: Sequence[bytes],
        service: Service,
        speech: Speech,
        header: Request | None,
        body: Sequence[Frame],
        now: float,
        expires_at: float,
    ) -> None:
        self.id: bytes = request_id
        """The address the worker is given: the client's request id, or one of our own."""
        self.client: Client = client
        self.path: Sequence[bytes] = path
        """Frames between the routing id and the protocol's own; they go back as they came."""
        self.service: Service = service
        self.speech: Speech = speech
        self.header: Request | None = header
        """None for a body that is not typed."""
        self.body: Sequence[Frame] = body
        self.at: float = now
        self.expires_at: float = expires_at
        if header is None:
            self.flags: int = IDEMPOTENT  # 7/MDP: workers are idempotent
        elif len(path) == 2 and path[0] == request_id:
            self.flags = header.flags
        else:
            self.flags = header.flags & ~BATCHES
        """The header's; BATCHES only for a client that can be answered so."""
        self.state: int = NEW
        self.worker: Worker | None = None
        """Who has it, or had it last."""
        self.deliveries: int = 0
        self.refusals: int = 0
        self.answered: bool = False
        """Some part of its answer went to the client: no other worker can begin anew."""
        self.done: bool = False
        self.due: float = 0.0

    @property
    def idempotent(self) -> bool:
        """Another worker may have it after one that took it."""
        return bool(self.flags & IDEMPOTENT)

    @property
    def stream(self) -> bool:
        """It wants any number of answers."""
        return bool(self.flags & STREAM)

    @property
    def pinned(self) -> bool:
        """It is for one worker alone."""
        return self.header is not None and "incarnation" in self.header.extra


class Worker:
    """A peer that said READY: known by its port and routing id, from there to its loss or DISCONNECT."""

    __slots__ = (
        "answered", "busy_patience", "credit", "delivered", "draining", "due", "heard_at", "incarnation", "jobs", "joined_at",
        "lost", "ours", "pace", "pinned", "port", "quiet_patience", "routing_id", "service", "share", "since", "speech",
        "tick",
    )  # fmt: skip

    def __init__(self, port: int, routing_id: bytes, speech: Speech, service: Service, now: float) -> None:
        self.port: int = port
        self.routing_id: bytes = routing_id
        self.speech: Speech = speech
        self.service: Service = service
        self.credit: int = 1
        """Requests it takes at once; one until it says more (7/MDP)."""
        self.ours: bool = False
        """It said its capacity: it reads batches, CANCEL and CREDIT, and answers each request once."""
        self.incarnation: bytes = b""
        self.jobs: dict[bytes, Pending] = {}
        """What it was given and has not answered; also what has ended here meanwhile, for that still takes its room."""
        self.pinned: deque[Pending] = deque()
        """Requests for this incarnation alone that wait for room."""
        self.tick: list[tuple[bytes, bytes, bytes]] = []
        """What this turn gives it in one message."""
        self.draining: bool = False
        self.joined_at: float = now
        self.heard_at: float = now
        self.due: float = 0.0
        self.quiet_patience: float = inf
        self.busy_patience: float = inf
        self.delivered: int = 0
        self.answered: int = 0
        self.lost: bool = False
        self.share: int = 1
        """Requests that it is given in one go before it is another's turn."""
        self.pace: float = _SHARE_SECONDS
        """Seconds from one answer to the next while it has requests, smoothed."""
        self.since: float = now
        """When it answered last, or was given something after it had nothing."""

    def paced(self, count: int, now: float) -> None:
        """It has answered so many in one message.

        Whoever answers fast is given several in one go, for one message costs as much as the work on many requests; whoever
        does not, one by one, so that those that wait are spread over all workers.
        """
        self.pace += ((now - self.since) / count - self.pace) / 8
        self.since = now
        self.share = min(SHARE, max(1, int(_SHARE_SECONDS / max(self.pace, 1e-6))))

    @property
    def patience(self) -> float:
        """Seconds it may be silent."""
        return self.busy_patience if self.jobs else self.quiet_patience


class Service:
    """A name, the workers that serve it, and the requests that wait for them: clients take turns."""

    __slots__ = (
        "answered", "balancer", "due", "latencies", "lines", "lost", "name", "pinned", "received", "served_at", "turns",
        "waiting", "workers",
    )  # fmt: skip

    def __init__(self, name: bytes, balancer: Balancer[Worker]) -> None:
        self.name: bytes = name
        self.balancer: Balancer[Worker] = balancer
        self.workers: dict[tuple[int, bytes], Worker] = {}
        self.served_at: float = -inf
        """When it last had a worker, once it has none."""
        self.due: float = 0.0
        self.lines: dict[Client, Line] = {}
        self.turns: deque[Line] = deque()
        self.waiting: int = 0
        self.pinned: int = 0
        """Of these, requests that wait for one worker alone."""
        self.received: int = 0
        self.answered: int = 0
        self.lost: int = 0
        self.latencies: Latencies = Latencies()

    def put(self, pending: Pending, *, first: bool = False) -> None:
        """It waits; ``first``: before everything else of its client."""
        client = pending.client
        line = self.lines.get(client)
        if line is None:
            line = self.lines[client] = Line(client)
            if first:
                self.turns.appendleft(line)
            else:
                self.turns.append(line)
        if first:
            line.jobs.appendleft(pending)
        else:
            line.jobs.append(pending)
        pending.state = WAITING
        self.waiting += 1
        client.waiting += 1

    def put_all(self, client: Client, pendings: Sequence[Pending]) -> None:
        """New ones of one client, as ``put`` does it one by one."""
        line = self.lines.get(client)
        if line is None:
            line = self.lines[client] = Line(client)
            self.turns.append(line)
        line.jobs.extend(pendings)
        for pending in pendings:
            pending.state = WAITING
        self.waiting += len(pendings)
        client.waiting += len(pendings)

    def take(self, count: int) -> list[Pending]:
        """The next ones in turn, at most so many."""
        if len(self.turns) == 1 and not self.turns[0].ended:
            return self._take_alone(count)
        return [self._take() for _ in range(min(count, self.waiting))]

    def _take_alone(self, count: int) -> list[Pending]:
        """The usual case: only one client waits, and none of what is in its line has ended."""
        line = self.turns[0]
        count = min(count, len(line.jobs))
        taken = [line.jobs.popleft() for _ in range(count)]
        for pending in taken:
            pending.state = NEW
        self.waiting -= count
        line.client.waiting -= count
        if not line.jobs:
            self.turns.clear()
            del self.lines[line.client]
        return taken

    def _take(self) -> Pending:
        """The next one in turn, if any is ``waiting``; those that have ended meanwhile are left out."""
        turns = self.turns
        while True:
            line = turns[0]
            jobs = line.jobs
            pending = jobs.popleft() if jobs else None
            if not jobs:
                turns.popleft()
                del self.lines[line.client]
            elif len(turns) > 1:
                turns.rotate(-1)
            if pending is None:
                continue
            if not pending.done:
                self._leave(pending)
                return pending
            line.ended -= 1

    def queue(self) -> list[Pending]:
        """All that wait, by client."""
        return [each for line in self.turns for each in line.jobs if not each.done]

    def left(self, pending: Pending) -> None:
        """One that waited has ended; places are cleared when half of those in its line have."""
        line = self.lines[pending.client]
        self._leave(pending)
        line.ended += 1
        if line.ended * 2 > len(line.jobs):
            line.jobs = deque(each for each in line.jobs if not each.done)
            line.ended = 0

    def moved(self, pending: Pending, client: Client) -> None:
        """Its client has come back under another routing id, with this alone."""
        self.lines[pending.client].jobs.remove(pending)
        self._leave(pending)
        pending.client = client
        self.put(pending)

    def _leave(self, pending: Pending) -> None:
        pending.state = NEW
        self.waiting -= 1
        pending.client.waiting -= 1

    def oldest(self) -> float | None:
        """When the one that has waited longest came."""
        times = [line.jobs[0].at for line in self.turns if line.jobs]
        return min(times) if times else None


class Line:
    """The requests of one client that wait for one service."""

    __slots__ = ("client", "ended", "jobs")

    def __init__(self, client: Client) -> None:
        self.client: Client = client
        self.jobs: deque[Pending] = deque()
        self.ended: int = 0


@dataclass(slots=True)
class BrokerStatistics:
    """Counters of one broker since it was started. Every request received ends as one of the first seven."""

    received: int = 0
    answered: int = 0
    refused: int = 0
    """Not taken: overloaded, nobody serves the name, the incarnation is not there, the broker drains or stops."""
    expired: int = 0
    cancelled: int = 0
    abandoned: int = 0
    """Their client has gone."""
    outcome_unknown: int = 0
    """Lost with their worker, and not idempotent."""
    dead: int = 0
    """Dead letters."""
    duplicates: int = 0
    """Requests that were here already; not counted as received."""
    delivered: int = 0
    redelivered: int = 0
    """Of these, given to a further worker after one was lost or refused."""
    late: int = 0
    """Answers for requests that had ended, or that the worker does not have (any more)."""
    untold: int = 0
    """Ends that a foreign client could not be told, and parts for clients that take one answer."""
    undecodable: int = 0
    """Messages of no protocol, or at the wrong port; dropped."""
    disconnected: int = 0
    """DISCONNECTs sent: READY twice, for mmi.*, or anything from an unknown worker (7/MDP)."""
    dropped: int = 0
    """Messages that could not be delivered: the peer is gone, or does not read."""
    workers_lost: int = 0
    mmi: int = 0


@dataclass(frozen=True, slots=True)
class Misplaced:
    """Event: somebody is at the wrong one of two ports. Once for workers, once for clients."""

    reason: str


@dataclass(frozen=True, slots=True)
class WorkerChanged:
    """Event: a worker came or went."""

    service: str
    worker: bytes
    up: bool
    reason: str
