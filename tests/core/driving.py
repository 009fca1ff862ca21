"""A machine with its driver played by hand: what goes out is looked at, what comes in is made up, time is a number."""

from __future__ import annotations

from typing import Any

from zpatterns.core.calls import Call, Connection
from zpatterns.core.jobs import Job, Rule
from zpatterns.core.machine import Frames, Link, Sent
from zpatterns.core.replier import Replier
from zpatterns.core.requester import Requester
from zpatterns.errors import Status, ZPatternsError
from zpatterns.policy import Heartbeat, Limits, Retry
from zpatterns.wire import message as w

PREFIX = b"testtest"
A, B = b"server-A", b"server-B"
"""Incarnations."""


class Message:
    """One message that a machine wants to send."""

    def __init__(self, entry: tuple[int, Frames, Any]) -> None:
        self.port, self.frames, self.token = entry

    @property
    def id(self) -> bytes:
        return bytes(self.frames[0])

    @property
    def command(self) -> Any:
        """What the header says; for a batch, which has no id, the batch."""
        return w.parse(self.frames[2] if len(self.frames[0]) else self.frames[1])

    @property
    def items(self) -> list[tuple[bytes, Any, bytes]]:
        """The id, command and payload of every message in a batch."""
        flat = w.decode_batch(self.command, self.frames[2])
        return [(flat[at], w.parse(flat[at + 1]), flat[at + 2]) for at in range(0, len(flat), 3)]


class Client:
    """A requester whose ports are connected, unless ``up=False``."""

    def __init__(
        self,
        ports: int = 1,
        *,
        up: bool = True,
        jitter: float = 1.0,
        retry: Retry | None = None,
        limits: Limits | None = None,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self.machine = Requester(
            ports, prefix=PREFIX, random=lambda: jitter, retry=retry, limits=limits, heartbeat=heartbeat
        )
        self.statistics = self.machine.statistics
        if up:
            for port in range(ports):
                self.link(port, Link.UP, 0.0)
            self.machine.events.clear()

    def start(self, method: str | None = "m", now: float = 0.0, **more: Any) -> Call:
        """Start a call that has 6 seconds and 3 attempts; what it sends is left in the outbox."""
        call = Call(
            method,
            more.pop("payload", b"\xc0"),
            more.pop("deadline", now + 6.0),
            more.pop("attempts", 3),
            buffers=more.pop("buffers", ()),
        )
        for name, value in more.items():
            assert hasattr(call, name)
            setattr(call, name, value)
        if call.stream and not call.timeout:
            call.timeout, call.quiet_at = 2.0, now + 2.0
        self.machine.start(call)
        self.machine.flush(now)
        return call

    def stream(self, now: float = 0.0, **more: Any) -> Call:
        return self.start("s", now, stream=True, **{"deadline": now + 1000.0, **more})

    def out(self, now: float | None = None) -> list[Message]:
        """Take what is to be sent; with a time, flush first."""
        if now is not None:
            self.machine.flush(now)
        messages = [Message(entry) for entry in self.machine.outbox]
        self.machine.outbox.clear()
        return messages

    def one(self, now: float | None = None) -> Message:
        [message] = self.out(now)
        return message

    def link(self, port: int, state: Link, now: float) -> None:
        self.machine.link(port, state, now)

    def lose(self, port: int, now: float) -> None:
        self.link(port, Link.DOWN, now)

    def full(self, message: Message, now: float = 0.0) -> None:
        self.machine.sent(message.token, Sent.FULL, now)

    def wake(self, now: float) -> None:
        """At its time: not a moment later than it asked for, and ready to send."""
        at = self.machine.wakes_at
        assert at is not None and at <= now
        self.machine.wake(now)
        self.machine.flush(now)

    def receive(self, *frames: Any, port: int = 0, now: float = 0.0) -> None:
        self.machine.receive(port, frames, now)

    def reply(
        self, call: Call | bytes, payload: bytes = b"reply", *, flags: int = 0, incarnation: bytes = A, **where: Any
    ) -> None:
        call_id = call if isinstance(call, bytes) else call.id
        self.receive(call_id, b"", w.final(0, 1, flags, incarnation), payload, **where)

    def refuse(
        self, call: Call, status: Status, flags: int = w.NOT_TAKEN, incarnation: bytes = A, **where: Any
    ) -> None:
        payload = w.encode_error("why", {"a": 1}, 2048)
        self.receive(call.id, b"", w.error(status, flags, incarnation), payload, **where)

    def part(self, call: Call, sequence: int, payload: bytes = b"part", **where: Any) -> None:
        self.receive(call.id, b"", w.partial(sequence, 1), payload, **where)

    def know(self, incarnation: bytes, port: int = 0, flags: int = 0, now: float = 0.0) -> None:
        """Have a port learn what it is connected to, from the answer to a call of no interest."""
        call = self.start("learn", now, attempts=1)
        self.machine.outbox.clear()
        self.reply(call, flags=flags, incarnation=incarnation, port=port, now=now)
        self.machine.events.clear()

    def ended(self) -> list[Call]:
        """Take the calls that have ended."""
        calls = [event for event in self.machine.events if type(event) is Call]
        for call in calls:
            assert call.done
        self.machine.events.clear()
        return calls

    def failure(self, call: Call) -> ZPatternsError:
        """The exception of the one call that has ended."""
        assert self.ended() == [call]
        assert call.failure is not None
        return call.failure

    def events(self) -> list[Any]:
        """Take the events, without those of connections."""
        events = [event for event in self.machine.events if type(event) is not Connection]
        self.machine.events.clear()
        return events


class Server:
    """A replier with a unary method ``m``, a stream ``s``, and ``d``, which is deduped."""

    def __init__(
        self,
        rules: dict[str | None, Rule] | None = None,
        *,
        threads: int = 8,
        limits: Limits | None = None,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self.machine = Replier(
            rules or {"m": Rule(), "s": Rule(stream=True), "d": Rule(dedupe=True)},
            incarnation=A,
            threads=threads,
            limits=limits,
            heartbeat=heartbeat,
        )
        self.statistics = self.machine.statistics

    def request(
        self,
        number: int = 1,
        method: str = "m",
        *,
        peer: bytes = b"peer1",
        budget: int = 5000,
        flags: int = 0,
        extra: dict[str, Any] | None = None,
        payload: bytes = b"\xc0",
        now: float = 0.0,
        dispatch: bool = True,
    ) -> None:
        header = w.request(method, budget, 1, 1, flags, extra)
        self.receive(peer, id_of(number), b"", header, payload, now=now, dispatch=dispatch)

    def stream(self, number: int = 1, *, credit: int = 4, now: float = 0.0, **more: Any) -> Job:
        extra = {"credit": credit, **more.pop("extra", {})}
        self.request(number, "s", flags=w.STREAM | more.pop("flags", 0), extra=extra, now=now, **more)
        job = self.job()
        self.machine.flush(now)
        return job

    def receive(self, *frames: Any, now: float = 0.0, dispatch: bool = True) -> None:
        self.machine.receive(0, frames, now)
        if dispatch:
            self.machine.dispatch(now)

    def cancel(self, number: int = 1, *, peer: bytes = b"peer1", **more: Any) -> None:
        self.receive(peer, id_of(number), b"", w.CANCEL_HEADER, b"", **more)

    def credit(self, parts: int, number: int = 1, **more: Any) -> None:
        self.receive(b"peer1", id_of(number), b"", w.credit(parts), b"", **more)

    def events(self) -> list[Any]:
        events = list(self.machine.events)
        self.machine.events.clear()
        return events

    def job(self) -> Job:
        """The job of the one handler to run."""
        [event] = self.events()
        assert type(event) is Job
        return event

    def run(self, number: int = 1, method: str = "m", **more: Any) -> Job:
        """A request, and the job of its handler, timed as after a whole turn."""
        self.request(number, method, **more)
        job = self.job()
        self.machine.flush(more.get("now", 0.0))
        return job

    def out(self, now: float = 0.0) -> list[tuple[Any, ...]]:
        """Take what is to be sent."""
        self.machine.flush(now)
        entries = [tuple(entry[1]) for entry in self.machine.outbox]
        self.machine.outbox.clear()
        return entries

    def one(self, now: float = 0.0) -> tuple[Any, ...]:
        [frames] = self.out(now)
        return frames

    def error(self, now: float = 0.0) -> tuple[Status, int, str]:
        """Status, flags and text of the one error to be sent."""
        *_, header, payload = self.one(now)
        command = w.parse(header)
        assert type(command) is w.Error
        return Status(command.status), command.flags, w.decode_error(payload)[0]

    def refused(self, frames: Frames, outcome: Sent, now: float = 0.0) -> None:
        """libzmq did not take this."""
        self.machine.sent((0, frames), outcome, now)

    def wake(self, now: float) -> None:
        at = self.machine.wakes_at
        assert at is not None and at <= now
        self.machine.wake(now)


def id_of(number: int) -> bytes:
    return PREFIX + number.to_bytes(8, "big")
