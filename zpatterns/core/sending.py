"""The way out of a client: which port takes a call, and in which messages the calls of one turn leave.

It knows what ports are doing and how frames look; why a call is sent, and what becomes of it, is the requester's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from ..policy import Limits
from ..wire import message as w
from . import compose
from .calls import ID, Call, Port
from .machine import Frames


class Sending:
    """``ports`` endpoints, one DEALER each. Tokens in ``outbox``: the port, the calls that wait again if it is not taken,
    and of a grant its stream and its parts.
    """

    __slots__ = ("_counter", "_in_flight", "_prefix", "_rotation", "credit", "outbox", "ports")

    def __init__(self, ports: int, prefix: bytes, limits: Limits) -> None:
        self.outbox: deque[tuple[int, Frames, Any]] = deque()
        self.ports: list[Port] = [Port(index, limits.in_flight) for index in range(ports)]
        self.credit: int = min(limits.credit, w.CREDIT_MAX)
        self._in_flight = limits.in_flight
        self._prefix = prefix
        self._counter = 0
        self._rotation = 0

    def new_id(self) -> bytes:
        """8 random bytes of this client, and a counter."""
        self._counter += 1
        return self._prefix + self._counter.to_bytes(8, "big")

    def has_id(self, frames: Frames) -> bool:
        """Whether a message answers a call that was sent with an id: alone, or in a batch."""
        if len(frames) < 3:
            return False
        if not len(frames[0]):
            return w.is_typed(frames[1])
        return not len(frames[1]) and len(frames[0]) == w.ID_BYTES and frames[0][:8] == self._prefix

    def choose(self, call: Call) -> Port | None:
        """The usable port with the fewest in flight; another than the one that just failed, if there is one."""
        ports = self.ports
        if len(ports) == 1:
            port = ports[0]
            if call.bare == ID and not call.dedupe:  # the usual call: what _usable asks, without the call
                room = port.up and not port.blocked and port.bare is None and len(port.in_flight) < port.room
                return port if room else None
            return port if self._usable(port, call) else None
        best: Port | None = None
        best_load = 0
        self._rotation += 1
        for offset in range(len(ports)):
            port = ports[(self._rotation + offset) % len(ports)]
            if self._usable(port, call):
                load = len(port.in_flight)
                if port is call.avoid or port in call.ports:
                    load += self._in_flight
                if best is None or load < best_load:
                    best, best_load = port, load
        return best

    def _usable(self, port: Port, call: Call) -> bool:
        if not port.up or port.blocked or len(port.in_flight) >= port.room or port.bare is not None:
            return False
        if call.bare != ID:
            return not port.in_flight
        if call.dedupe and not port.incarnation:
            self._ping(port)
            return False
        return True

    def unpin(self, port: Port, now: float) -> list[Call]:
        """The ``dedupe`` calls that waited for this port, once it is known which incarnation is behind it: those that it may
        have, as far as there is room, and those that were for another.
        """
        if not port.up or port.blocked:
            return []
        if not port.incarnation:
            self._ping(port)
            return []
        room = port.room - len(port.in_flight) if port.bare is None else 0
        calls, port.pinned = [call for call in port.pinned if not call.done], []
        ready: list[Call] = []
        for call in calls:
            mine = call.incarnation == port.incarnation
            if call.deadline <= now or (mine and room <= 0):
                port.pinned.append(call)
            else:
                ready.append(call)
                room -= mine
        return ready

    def _ping(self, port: Port) -> None:
        """Ask the server behind a new link which incarnation it is."""
        if not port.ping_id:
            port.ping_id = self.new_id()
            header = w.request("zp.ping", 60_000, 1, 1, w.BATCHES | w.IDEMPOTENT)
            self.outbox.append((port.index, (port.ping_id, b"", header, w.EMPTY_BODY), (port, ())))

    def emit(self, port: Port, now: float) -> None:
        """Write what this turn gave to a port: one message, where its server reads batches."""
        calls, port.tick = port.tick, []
        credit = self.credit
        if len(calls) == 1 and not calls[0].done:
            self.outbox.append((port.index, compose.frames(calls[0], now, credit), (port, calls)))
            return
        together: list[Call] = []
        for call in calls:
            if call.done:
                continue
            if (
                port.batches
                and call.method is not None
                and not call.buffers
                and type(call.payload) is bytes
                and len(call.payload) <= compose.BATCH_ITEM
            ):
                together.append(call)
            else:
                self.outbox.append((port.index, compose.frames(call, now, credit), (port, (call,))))
        if together:
            items = [(call.id, compose.header(call, now, credit), call.payload) for call in together]
            at = 0
            for count, frames in compose.batches(items):  # type: ignore[arg-type]
                self.outbox.append((port.index, frames, (port, together[at : at + count])))
                at += count

    def grant(self, call: Call, parts: int) -> None:
        """Tell the server of a stream that it may send more parts, and those that could not be told before."""
        parts, call.owed = parts + call.owed, 0
        for port in call.ports:
            self.outbox.append((port.index, (call.id, b"", w.credit(parts), b""), (port, (), call, parts)))

    def grant_owed(self, port: Port) -> None:
        """The port has room again."""
        owing, port.owing = port.owing, []
        for call in owing:
            if not call.done:
                self.grant(call, 0)

    def refused(self, token: Any) -> tuple[Port, Sequence[Call]]:
        """libzmq did not take what this token came with: the port is full, and these calls are not under way by it."""
        port: Port = token[0]
        port.blocked = True
        port.ping_id = b""
        if len(token) == 4:
            token[2].owed += token[3]
            port.owing.append(token[2])
        return port, token[1]

    def cancel(self, call: Call, port: Port) -> None:
        """Tell a server that nobody waits any more."""
        self.outbox.append((port.index, compose.cancel(call), (port, ())))
