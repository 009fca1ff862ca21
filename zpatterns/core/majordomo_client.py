"""A client of a service: the machine between a requester and its brokers. The requester knows nothing of it.

It asks each broker on each connection whether it is ours (``mmi.zpatterns``), and tells the requester of the link only
then. Ours: request ids, batches, streams and cancels travel as they are, in an envelope that names the service. Any
other broker (7/MDP): one request under way at a time, known by being the only one; ``mmi.service`` is asked before,
so that a name that nobody serves is an error at once; and what can come no more is avoided with a fresh socket.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Any

from ..errors import DecodeError, Status
from ..policy import Heartbeat
from ..wire import majordomo as mdp, message as w
from .calls import Call, Port, Reopen, RequestClientStatistics
from .machine import Frames, Link, Sent
from .requester import Requester

_TEXT = 2048
_LOOK = 0.05
"""Seconds a broker has from when its time is over: its answer may lie here, unread while nobody drove this client."""
_ANONYMOUS = b"\0"
"""Stands for the id of a plain call that has none."""
_NOBODY = b"\0"
"""The incarnation in errors that are said on behalf of a broker."""


class Stand(Enum):
    """What is known of the broker at a port."""

    DOWN = "no connection"
    ASKING = "asked whether it is ours"
    OURS = "ours"
    FOREIGN = "another one"


class Lane:
    """The broker at one port."""

    __slots__ = ("ask_until", "checked_at", "current", "deaf", "held", "late", "over_at", "port", "stand", "until")

    def __init__(self, port: int) -> None:
        self.port: int = port
        self.stand: Stand = Stand.DOWN
        self.ask_until: float = 0.0
        self.late: bool = False
        """Its time was over once; this is the last look."""
        self.deaf: bool = False
        """It knows nothing of 8/MMI: there is no use in asking."""
        self.checked_at: float | None = None
        """When ``mmi.service`` last said yes."""
        self.current: bytes = b""
        """Not ours: the id of the request that is under way."""
        self.held: Frames | None = None
        """It, while ``mmi.service`` is asked first."""
        self.over_at: float = 0.0
        """When its attempt is over."""
        self.until: float | None = None
        """When to wait no longer: for its reply, or for the answer of ``mmi.service``."""


class MajordomoClient:
    """``service`` is the name every request goes to."""

    def __init__(self, requester: Requester, *, service: bytes, heartbeat: Heartbeat | None = None) -> None:
        self.requester: Requester = requester
        self.statistics: RequestClientStatistics = requester.statistics
        self.outbox: deque[tuple[int, Frames, Any]] = requester.outbox
        """Shared: what the requester has put in there is wrapped in ``flush``."""
        self.events: deque[Any] = requester.events
        self.lanes: list[Lane] = [Lane(port.index) for port in requester.ports]
        self._service = service
        self._patience = (heartbeat or Heartbeat()).interval
        self._rooms = [port.room for port in requester.ports]

    @property
    def expects(self) -> bool:
        """An answer to a call, or to a question."""
        return self.requester.expects or any(lane.stand is Stand.ASKING for lane in self.lanes)

    # -- links --------------------------------------------------------------------------------------------------

    def link(self, port: int, state: Link, now: float) -> None:
        """A connection came or went. A new one is not told of before its broker has said what it is."""
        lane = self.lanes[port]
        if state is Link.UP:
            self._forget(lane)
            lane.stand = Stand.ASKING
            lane.ask_until, lane.late = now + self._patience, False
            self._ask(lane, mdp.MMI_ZPATTERNS, b"")
        elif state is Link.WRITABLE:
            if lane.stand in (Stand.OURS, Stand.FOREIGN) and not lane.current:
                self.requester.link(port, state, now)
        else:
            self._forget(lane)
            self.requester.link(port, state, now)

    def _forget(self, lane: Lane) -> None:
        lane.stand, lane.deaf, lane.checked_at = Stand.DOWN, False, None
        self._free(lane)

    def _free(self, lane: Lane) -> None:
        lane.current, lane.held, lane.until = b"", None, None

    def _ask(self, lane: Lane, question: bytes, body: bytes) -> None:
        self.outbox.append((lane.port, (b"", mdp.C01, question, body), lane))

    def _learned(self, lane: Lane, now: float, *, ours: bool) -> None:
        if lane.stand is Stand.ASKING:
            lane.stand = Stand.OURS if ours else Stand.FOREIGN
            self.requester.ports[lane.port].room = self._rooms[lane.port] if ours else 1
            self.requester.link(lane.port, Link.UP, now)

    # -- in -----------------------------------------------------------------------------------------------------

    def receive(self, port: int, frames: Frames, now: float) -> None:
        """A broker's message."""
        lane = self.lanes[port]
        count = len(frames)
        if lane.stand is Stand.OURS:
            if count > 4 and not len(frames[1]) and frames[2] == mdp.C01:
                self.requester.receive(port, (frames[0], b"", *frames[4:]), now)
                return
            if count > 3 and not len(frames[0]) and frames[1] == mdp.C01:
                self.requester.receive(port, (b"", *frames[3:]), now)
                return
        try:
            self._reply(lane, mdp.read_reply(frames), now)
        except DecodeError:
            self.statistics.undecodable += 1

    def _reply(self, lane: Lane, reply: mdp.Reply, now: float) -> None:
        code = bytes(reply.body[0])[:3]
        if reply.service == mdp.MMI_ZPATTERNS:
            self._learned(lane, now, ours=code == mdp.FOUND)
        elif reply.service == mdp.MMI_SERVICE:
            self._checked(lane, code, now)
        elif not lane.current or lane.held is not None or reply.service != self._service:
            self.statistics.late += 1
        else:
            call_id = lane.current
            self._free(lane)
            lane.checked_at = now
            front = () if call_id == _ANONYMOUS else (call_id,)
            self.requester.receive(lane.port, (*front, b"", *reply.body), now)
            self.requester.link(lane.port, Link.WRITABLE, now)

    def _checked(self, lane: Lane, code: bytes, now: float) -> None:
        """``mmi.service`` has answered; the guide's Java broker says 400 for a name it never saw."""
        held = lane.held
        if held is None:
            return
        lane.held = None
        if code in (mdp.NOT_FOUND, b"400"):
            self._refuse(lane, Status.NOT_FOUND, f"no worker serves {self._service.decode()!r}", w.NOT_TAKEN, now)
        else:
            lane.checked_at = now
            lane.deaf = code != mdp.FOUND
            self._send(lane, held)

    def _refuse(self, lane: Lane, status: Status, text: str, flags: int, now: float) -> None:
        """On behalf of a broker that has no words for it."""
        call_id = lane.current
        self._free(lane)
        body = (w.error(status, flags, _NOBODY), w.encode_error(text, {}, _TEXT))
        self.requester.receive(lane.port, (call_id, b"", *body), now)
        self.requester.link(lane.port, Link.WRITABLE, now)

    # -- out ----------------------------------------------------------------------------------------------------

    def flush(self, now: float) -> None:
        """Write what the requester says in envelopes."""
        self.requester.flush(now)
        outbox = self.outbox
        lanes, service = self.lanes, self._service
        for _ in range(len(outbox)):
            entry = outbox.popleft()
            port, frames, token = entry
            lane = lanes[port]
            if type(token) is Lane or any(frame is mdp.C01 for frame in frames[1:3]):
                outbox.append(entry)  # wrapped already
            elif lane.stand is Stand.OURS:
                if len(frames) > 2 and not len(frames[1]):
                    outbox.append((port, (frames[0], b"", mdp.C01, service, *frames[2:]), token))
                else:  # a batch, or a plain call without an id
                    body = frames if len(frames[0]) else frames[1:]
                    outbox.append((port, (b"", mdp.C01, service, *body), token))
            elif lane.stand is Stand.FOREIGN:
                self._send_foreign(lane, frames, token, now)

    def _send_foreign(self, lane: Lane, frames: Frames, token: Any, now: float) -> None:
        call_id = bytes(frames[0]) if len(frames) > 2 and not len(frames[1]) else b""
        body = frames[2:] if call_id else frames[1:] if not len(frames[0]) else frames
        command = w.parse(body[0]) if w.is_typed(body[0]) else None
        if isinstance(command, w.Cancel | w.Credit):
            if isinstance(command, w.Cancel) and call_id == lane.current:
                self._abandon(lane)
            return
        if lane.current:
            self.requester.sent(token, Sent.FULL, now)
            return
        calls = token[1]
        call: Call | None = calls[0] if calls else None
        lane.current = call_id or _ANONYMOUS
        if isinstance(command, w.Request) and command.flags & w.STREAM:
            text = "this broker has one reply for a request (7/MDP): streams need a zpatterns Broker"
            self._refuse(lane, Status.UNIMPLEMENTED, text, 0, now)
            return
        lane.over_at = self._over_at(call, now)
        message = (b"", mdp.C01, self._service, *body)
        if lane.deaf or (lane.checked_at is not None and now - lane.checked_at < self._patience):
            self._send(lane, message, token)
        else:
            lane.held = message
            lane.until = min(now + self._patience, lane.over_at)
            self._ask(lane, mdp.MMI_SERVICE, self._service)

    def _over_at(self, call: Call | None, now: float) -> float:
        """A broker may lose a request and stay connected: what may run twice is tried again on a fresh socket."""
        if call is None:
            return now + self._patience
        if call.idempotent and call.attempt < call.attempts:
            return now + (call.deadline - now) / (call.attempts - call.attempt + 1)
        return call.deadline

    def _send(self, lane: Lane, message: Frames, token: Any = None) -> None:
        lane.until = lane.over_at
        self.outbox.append((lane.port, message, lane if token is None else token))

    def _abandon(self, lane: Lane) -> None:
        """The reply may still come, and could not be told from the next one's: a fresh socket (Lazy Pirate)."""
        self._free(lane)
        self.events.append(Reopen(lane.port))

    def sent(self, token: Any, outcome: Sent, now: float) -> None:
        """Not taken: the requester has it wait; a question is asked again on another connection."""
        if type(token) is Lane:
            if token.stand is not Stand.DOWN:
                self._abandon(token)
            return
        port: Port = token[0]
        self._free(self.lanes[port.index])
        self.requester.sent(token, outcome, now)

    def dispatch(self, now: float) -> None:
        """A client starts nothing."""

    def wake(self, now: float) -> None:
        """Questions that are not answered, attempts that are over; and the requester's own time."""
        self.requester.wake(now)
        for lane in self.lanes:
            if lane.stand is Stand.ASKING and now >= lane.ask_until:
                if not lane.late:
                    lane.ask_until, lane.late = now + _LOOK, True
                    continue
                lane.deaf = True
                self._learned(lane, now, ours=False)
            elif lane.until is not None and now >= lane.until:
                if lane.held is not None:
                    lane.deaf = True  # it does not answer for mmi.service
                    held, lane.held = lane.held, None
                    self._send(lane, held)
                else:
                    self._abandon(lane)

    @property
    def wakes_at(self) -> float | None:
        """No later than any of these."""
        times = [self.requester.wakes_at]
        for lane in self.lanes:
            times.append(lane.ask_until if lane.stand is Stand.ASKING else lane.until)
        return min((at for at in times if at is not None), default=None)
