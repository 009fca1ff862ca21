"""A worker: the machine between a replier and its brokers. The replier is the one that servers have, and knows nothing of it.

Each port is a conversation of 7/MDP with one broker: READY, heartbeats both ways, DISCONNECT. What a broker sends is
handed to the replier as if it came from a peer, and what the replier says to that peer goes back in the broker's frames.
Between our own peers many requests are under way at once; with any other broker one. Rules:

* every request that a broker gives is answered once, or its conversation is over;
* after DISCONNECT, or ``expiry`` without a sign of life, the conversation is over: a fresh socket, after a pause that doubles;
* what belongs to a conversation that is over is answered to nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ..errors import DecodeError, Status
from ..policy import FOREIGN_HEARTBEAT, Heartbeat, SocketOptions
from ..wire import majordomo as mdp, message as w
from .calls import Connection, Reopen
from .jobs import ReplyServerStatistics
from .liveness import Liveness
from .machine import Frame, Frames, Link, Sent
from .replier import Replier

_LAST_WORDS = 2048


class Lane:
    """The conversation at one port."""

    __slots__ = (
        "conversation", "due", "failures", "goodbye", "heard_at", "held", "ours", "patience", "peer", "port",
        "reopen_at", "told", "up",
    )  # fmt: skip

    def __init__(self, port: int) -> None:
        self.port: int = port
        self.up: bool = False
        self.conversation: int = 0
        self.peer: bytes = b""
        """What the replier knows this conversation by."""
        self.ours: bool = False
        self.told: int = -1
        """The capacity the broker was told last."""
        self.held: bytes | None = None
        """A broker that is not ours: the address of the one request that is under way."""
        self.goodbye: bool = False
        self.heard_at: float = 0.0
        self.due: float = 0.0
        self.patience: float = FOREIGN_HEARTBEAT.expiry
        self.failures: int = 0
        """Conversations that ended badly, one after the other."""
        self.reopen_at: float | None = None


class MajordomoWorker:
    """``service`` is what READY names; ``credit`` how many requests our own brokers may give at once. ``random`` gives [0, 1)."""

    def __init__(
        self,
        replier: Replier,
        ports: int,
        *,
        service: bytes,
        credit: int,
        random: Callable[[], float],
        heartbeat: Heartbeat | None = None,
        options: SocketOptions | None = None,
    ) -> None:
        self.replier: Replier = replier
        self.statistics: ReplyServerStatistics = replier.statistics
        self.outbox: deque[tuple[int, Frames, Any]] = replier.outbox
        """Shared: what the replier has put in there is wrapped in ``flush``; the token of what is wrapped is its lane."""
        self.events: deque[Any] = replier.events
        self.lanes: list[Lane] = [Lane(port) for port in range(ports)]
        self.disconnects: int = 0
        """Conversations that a broker ended, or that fell silent."""
        self._by_peer: dict[bytes, Lane] = {}
        self._service = service
        self._credit = credit
        self._random = random
        self._heartbeat = heartbeat or Heartbeat()
        options = options or SocketOptions()
        self._backoff, self._backoff_max = options.reconnect_interval, options.reconnect_interval_max
        self._liveness: Liveness[Lane] = Liveness()
        self._beat_at: float | None = None

    expects: bool = True
    """A request can come at any time."""

    # -- the conversation ---------------------------------------------------------------------------------------

    def link(self, port: int, state: Link, now: float) -> None:
        """A connection came or went; with a new one a conversation begins."""
        lane = self.lanes[port]
        if state is Link.WRITABLE:
            return
        if state is not Link.UP:
            was = lane.up
            self._over(lane)
            if was:
                self.events.append(Connection(port, up=False, reason="no connection"))
            return
        self._over(lane)
        lane.reopen_at = None
        lane.conversation += 1
        lane.peer = b"\0" + port.to_bytes(2, "big") + lane.conversation.to_bytes(8, "big")
        lane.up, lane.ours, lane.told, lane.held, lane.goodbye = True, False, -1, None, False
        lane.patience = max(FOREIGN_HEARTBEAT.expiry, self._heartbeat.expiry)
        lane.heard_at = now
        self._by_peer[lane.peer] = lane
        self._liveness.watch(lane)
        if self._beat_at is None:
            self._beat_at = now + self._heartbeat.interval
        if self.replier.stopping:
            lane.goodbye = True
            return
        self._put(lane, (b"", mdp.W01, mdp.READY, self._service))
        self._put(lane, (b"", mdp.C01, mdp.MMI_ZPATTERNS, b""))
        self.events.append(Connection(port, up=True, reason="connected"))

    def _over(self, lane: Lane) -> None:
        """Whatever belongs to this conversation is answered to nobody."""
        if not lane.up:
            return
        lane.up = False
        self._liveness.forget(lane)
        del self._by_peer[lane.peer]
        self.replier.gone(lane.peer)

    def _restart(self, lane: Lane, now: float) -> None:
        """7/MDP: close the socket, open another, say READY again. Not at once: a fleet would storm its broker."""
        self._over(lane)
        self.disconnects += 1
        bound = min(self._backoff_max, self._backoff * 2.0**lane.failures)
        lane.failures = min(lane.failures + 1, 16)
        lane.reopen_at = now + bound * (0.5 + 0.5 * self._random())
        self.events.append(Connection(lane.port, up=False, reason="the broker ended the conversation, or is silent"))

    # -- in -----------------------------------------------------------------------------------------------------

    def receive(self, port: int, frames: Frames, now: float) -> None:
        """A broker's message. Whatever is no command of a broker is counted."""
        lane = self.lanes[port]
        if not lane.up:
            return
        lane.heard_at = now
        try:
            if len(frames) > 5 and frames[2] == mdp.REQUEST and frames[1] == mdp.W01 and not len(frames[4]):
                self._request(lane, frames[3], frames[5:], now)
            elif len(frames) > 2 and frames[1] == mdp.C01:
                reply = mdp.read_reply(frames)
                if reply.service == mdp.MMI_ZPATTERNS and reply.body[0] == mdp.FOUND and not lane.ours:
                    lane.ours = True
                    lane.patience = self._heartbeat.expiry
                    self._liveness.watch(lane)
            else:
                self._command(lane, mdp.read_job(frames), now)
        except DecodeError:
            self.statistics.undecodable += 1

    def _command(self, lane: Lane, command: mdp.Job | mdp.Heartbeat | mdp.Disconnect, now: float) -> None:
        if isinstance(command, mdp.Disconnect):
            self._restart(lane, now)
        elif isinstance(command, mdp.Heartbeat):
            lane.failures = 0
        else:
            raise DecodeError("a REQUEST of another dialect", frames=command.body)

    def _request(self, lane: Lane, address: Frame, body: Frames, now: float) -> None:
        lane.failures = 0
        if lane.ours:
            if len(address):
                self.replier.receive(0, (lane.peer, bytes(address), b"", *body), now)
            else:
                self.replier.receive(0, (lane.peer, b"", *body), now)
            return
        if not len(address):
            raise DecodeError("a request without an address", frames=body)
        lane.held = bytes(address)
        if len(body) > 1 and w.is_typed(body[0]):
            command = w.parse(body[0])
            if isinstance(command, w.Request) and command.flags & w.STREAM:
                header = w.error(Status.UNIMPLEMENTED, 0, self.replier.incarnation)
                text = "this broker has one reply for a request (7/MDP): streams need a zpatterns Broker"
                self._answer(lane, (lane.held, b"", header, w.encode_error(text, {}, _LAST_WORDS)))
                return
        self.replier.receive(0, (lane.peer, lane.held, b"", *body), now)

    # -- out ----------------------------------------------------------------------------------------------------

    def _put(self, lane: Lane, frames: Frames) -> None:
        self.outbox.append((lane.port, frames, lane))

    def _answer(self, lane: Lane, frames: Frames) -> None:
        lane.held = None
        self._put(lane, (b"", mdp.W01, mdp.REPLY, *frames))

    def flush(self, now: float) -> None:
        """Write what the replier says in the frames of its brokers, and what they must know."""
        self.replier.flush(now)
        outbox = self.outbox
        for _ in range(len(outbox)):
            entry = outbox.popleft()
            frames, token = entry[1], entry[2]
            if type(token) is Lane or type(token) is _Answer:
                outbox.append(entry)  # wrapped already
                continue
            lane = self._by_peer.get(bytes(frames[0]))
            if lane is None:
                self.statistics.dropped += 1
                continue
            lane.held = None
            if len(frames[1]):
                message: Frames = (b"", mdp.W01, mdp.REPLY, *frames[1:])
            else:  # a batch has no id: an empty address
                message = (b"", mdp.W01, mdp.REPLY, b"", *frames[1:])
            outbox.append((lane.port, message, _Answer(frames)))
        credit = 0 if self.replier.stopping else self._credit
        for lane in self.lanes:
            if lane.up and lane.ours and lane.told != credit and not lane.goodbye:
                lane.told = credit
                self._put(lane, (b"", mdp.W01, mdp.HEARTBEAT, w.capacity(credit, self.replier.incarnation)))
        if self.replier.stopping and not self.replier.running and not self.replier.queued:
            for lane in self.lanes:
                if lane.up and not lane.goodbye:
                    lane.goodbye = True
                    self._put(lane, (b"", mdp.W01, mdp.DISCONNECT))

    def sent(self, token: Any, outcome: Sent, now: float) -> None:
        """Not taken: answers are kept and tried again; a READY that is lost would be silence, so the conversation ends."""
        if type(token) is _Answer:
            self.replier.sent((0, token.frames), Sent.FULL, now)
            peer = token.frames[0]
            waiting = [*self.outbox]
            self.outbox.clear()
            for entry in waiting:  # nothing overtakes it
                if type(entry[2]) is _Answer and entry[2].frames[0] == peer:
                    self.replier.sent((0, entry[2].frames), Sent.FULL, now)
                else:
                    self.outbox.append(entry)
        elif token.up and token.told == -1 and not token.ours:
            self._restart(token, now)

    def wake(self, now: float) -> None:
        """Heartbeats, brokers that are silent, pauses that are over."""
        self.replier.wake(now)
        for lane in self._liveness.silent(now):
            self._restart(lane, now)
        if self._beat_at is not None and now >= self._beat_at:
            self._beat_at = now + self._heartbeat.interval
            for lane in self.lanes:
                if lane.up and not lane.goodbye:
                    self._put(lane, (b"", mdp.W01, mdp.HEARTBEAT))
        for lane in self.lanes:
            if lane.reopen_at is not None and lane.reopen_at <= now:
                lane.reopen_at = None
                self.events.append(Reopen(lane.port))

    def dispatch(self, now: float) -> None:
        """The sockets are drained: start handlers."""
        self.replier.dispatch(now)

    @property
    def wakes_at(self) -> float | None:
        """No later than any of these."""
        times = [self.replier.wakes_at, self._liveness.wakes_at, self._beat_at]
        times += [lane.reopen_at for lane in self.lanes]
        return min((at for at in times if at is not None), default=None)


class _Answer:
    """The token of an answer: what the replier said, in its own frames."""

    __slots__ = ("frames",)

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
