"""A broker with its driver played by hand, and peers in their own frames: clients ``c1``, workers ``w1``, times as numbers."""

from __future__ import annotations

from typing import Any

from zpatterns.core.broker_peers import WorkerChanged
from zpatterns.core.jobs import ALWAYS, Rule
from zpatterns.core.machine import Sent
from zpatterns.core.majordomo_broker import MajordomoBroker
from zpatterns.core.replier import Replier
from zpatterns.policy import Heartbeat, Limits
from zpatterns.wire import message as w

C01, W01, C02, W02 = b"MDPC01", b"MDPW01", b"MDPC02", b"MDPW02"
BROKER, A, B = b"broker-0", b"worker-A", b"worker-B"
"""Incarnations."""
LATE = 10.0
"""A time at which a broker is young no more."""


def id_of(number: int) -> bytes:
    return b"testtest" + number.to_bytes(8, "big")


class Desk:
    """A broker and everything that is said to it; it is 10 s old unless ``young``."""

    def __init__(self, ports: int = 2, *, young: bool = False, **options: Any) -> None:
        own = Replier({"zp.ping": Rule(ALWAYS)}, incarnation=BROKER)
        options.setdefault("limits", Limits())
        self.machine = MajordomoBroker(ports, own=own, heartbeat=Heartbeat(interval=1.0, liveness=3), **options)
        self.statistics = self.machine.statistics
        self.back = ports - 1
        self.machine.flush(0.0 if not young else LATE)
        self.now = LATE
        if not young:
            self.machine.wake(LATE)
            self.out()

    def hear(self, port: int, *frames: Any) -> None:
        """A message, and the end of the turn."""
        self.machine.receive(port, frames, self.now)
        self.machine.dispatch(self.now)

    def out(self) -> list[tuple[Any, ...]]:
        """What goes out, routing id first; heartbeats are left out."""
        self.machine.flush(self.now)
        sent = [tuple(entry[1]) for entry in self.machine.outbox]
        self.machine.outbox.clear()
        return [each for each in sent if each[2:] != (W01, b"\x04") and each[1:] not in ((b"\x02",), (W02, b"\x05"))]

    def given(self, worker: bytes = b"w1") -> list[bytes]:
        """The addresses of what a worker of ours is given, alone or in batches."""
        found: list[bytes] = []
        for message in self.out():
            if message[0] == worker:
                batch = not message[4]
                found += w.decode_batch(w.parse(message[6]), message[7])[::3] if batch else [message[4]]
        return found

    def one(self) -> tuple[Any, ...]:
        [message] = self.out()
        return message

    def changes(self) -> list[tuple[bytes, bool]]:
        events = [(each.worker, each.up) for each in self.machine.events if type(each) is WorkerChanged]
        self.machine.events.clear()
        return events

    # -- peers --

    def ready(self, worker: bytes = b"w1", service: bytes = b"calc") -> None:
        """A worker of 7/MDP."""
        self.hear(self.back, worker, b"", W01, b"\x01", service)

    def ours(self, worker: bytes = b"w1", credit: int = 4, incarnation: bytes = A, service: bytes = b"calc") -> None:
        """A worker of ours."""
        self.ready(worker, service)
        self.capacity(worker, credit, incarnation)

    def capacity(self, worker: bytes, credit: int, incarnation: bytes = A) -> None:
        self.hear(self.back, worker, b"", W01, b"\x04", w.capacity(credit, incarnation))

    def request(
        self,
        number: int = 1,
        *,
        client: bytes = b"c1",
        service: bytes = b"calc",
        budget: int = 5000,
        flags: int = 0,
        extra: dict[str, Any] | None = None,
        payload: bytes = b"\xc0",
        buffers: tuple[bytes, ...] = (),
    ) -> None:
        """A typed request of one of our clients."""
        header = w.request("m", budget, 1, 1, flags, extra)
        self.hear(0, client, id_of(number), b"", C01, service, header, payload, *buffers)

    def plain(self, body: bytes = b"hello", *, client: bytes = b"r1", service: bytes = b"calc") -> None:
        """A request of a REQ that speaks 7/MDP."""
        self.hear(0, client, b"", C01, service, body)

    def reply(self, number: int = 1, *, worker: bytes = b"w1", payload: bytes = b"reply", flags: int = 0) -> None:
        self.result(id_of(number), w.final(0, 1, flags, A), payload, worker=worker)

    def fail(self, number: int, status: int, flags: int = w.NOT_TAKEN, *, worker: bytes = b"w1") -> None:
        self.result(id_of(number), w.error(status, flags, A), w.encode_error("no", {}, 100), worker=worker)

    def result(self, address: bytes, *body: bytes, worker: bytes = b"w1") -> None:
        self.hear(self.back, worker, b"", W01, b"\x03", address, b"", *body)

    def disconnect(self, worker: bytes = b"w1") -> None:
        self.hear(self.back, worker, b"", W01, b"\x05")

    def error(self) -> tuple[int, int, bytes, str]:
        """Status, flags, incarnation and text of the one error that goes to a client."""
        [message] = [message for message in self.out() if message[0][:1] == b"c"]
        *_, header, payload = message
        command = w.parse(header)
        assert type(command) is w.Error
        return command.status, command.flags, command.incarnation, w.decode_error(payload)[0]

    def unroutable(self, *frames: Any, port: int | None = None) -> None:
        self.machine.sent((self.back if port is None else port, frames), Sent.UNROUTABLE, self.now)

    def wake(self, now: float) -> None:
        at = self.machine.wakes_at
        assert at is not None and at <= now
        self.now = now
        self.machine.wake(now)

    def ended(self) -> int:
        """Requests that have ended: every one that was received and is not here."""
        s = self.statistics
        ended = s.answered + s.refused + s.expired + s.cancelled + s.abandoned + s.outcome_unknown + s.dead
        assert s.received == ended + len(self.machine.exchange.pending)
        return ended
