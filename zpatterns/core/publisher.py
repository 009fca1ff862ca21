"""The publisher: numbers the messages of each topic, joins what one tick publishes, echoes nonces, and tells last sequences.

Invariants, which the virtual world checks: messages leave in the order they were published in, over all topics; of each
topic their sequences have no hole but for messages it was told to withdraw; none is held longer than the tick it was published in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from ..errors import Overloaded
from ..policy import Heartbeat, Limits
from ..wire import published as wire
from .audience import Audience, Awaited
from .machine import Frame, Frames, Link, Sent

PORT = 0
RETRY = 0.005
"""Seconds until a message that a slow subscriber has no room for is tried again: XPUB tells of no room, only tries do."""
_SLOTS = 4096
"""How finely it is remembered where topics were that have been forgotten."""
_NEVER = float("inf")


@dataclass(slots=True)
class PublisherStatistics:
    """Counters of one publisher, in messages."""

    published: int = 0
    """Given to libzmq, which drops for each subscriber that is behind: subscribers count that, as gaps."""
    dropped: int = 0
    """Not given to libzmq: the deadline of a blocked ``publish`` passed, which its caller was told, or it was cancelled."""
    subscribed: int = 0
    unsubscribed: int = 0
    echoed: int = 0
    """Subscribers that asked whether their subscriptions are in place."""
    undecodable: int = 0
    """Upstream messages that are no subscriptions."""


@dataclass(frozen=True, slots=True)
class Enough:
    """Event: what was waited for has come."""

    awaited: Awaited


class Held:
    """A message of a publisher that blocks, until libzmq has taken it."""

    __slots__ = ("count", "frames", "ticket")

    def __init__(self, frames: Frames, count: int, ticket: int) -> None:
        self.frames: Frames = frames
        self.count: int = count
        self.ticket: int = ticket
        """0: nobody waits for it."""


class _Line:
    """One topic."""

    __slots__ = ("changed_at", "head", "sequence", "topic")

    def __init__(self, topic: bytes, sequence: int) -> None:
        self.topic = topic
        self.sequence = sequence
        """The last one used."""
        self.head = b""
        self.changed_at = 0.0


class Publisher:
    """One publisher. ``blocks``: a message that is not taken stays in front until it is, or is withdrawn."""

    expects = True

    def __init__(
        self,
        *,
        incarnation: bytes,
        now: float,
        blocks: bool = False,
        heartbeat: Heartbeat | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.outbox: deque[tuple[int, Frames, Any]] = deque()
        self.events: deque[Any] = deque()
        self.statistics: PublisherStatistics = PublisherStatistics()
        self._limits = limits or Limits()
        self.audience: Audience = Audience(self._limits.topics)
        self.blocked: deque[Held] = deque()
        """Messages that libzmq had no room for, in order."""
        self._incarnation = incarnation
        self._blocks = blocks
        self._heartbeat = heartbeat or Heartbeat()
        self._lines: dict[bytes, _Line] = {}
        self._forgotten: dict[int, int] = {}
        """By a hash of their topics, the highest sequences of those that were forgotten: published again, they go on from there."""
        self._run: list[bytes] = []
        self._run_line: _Line | None = None
        self._run_codec = 0
        self._run_room = 0
        self._most = max(0, min(wire.BATCH_BYTES, self._limits.message - wire.RECORD - wire.JOINED))
        """Bytes of what shares a message: subscribers cut the connection at one over their limits."""
        self._alone = min(wire.BATCHED_BYTES, self._most)
        self._recent: dict[_Line, None] = {}
        self._beats = 0
        self._beat_at = now + self._heartbeat.interval
        self._retry_at = _NEVER
        self.ticket: int = 0
        """Of the message that was published last, where messages are waited for."""

    # -- what the application does --------------------------------------------------------------------------------

    def publish(self, topic: bytes, codec: int, payload: bytes, buffers: Sequence[Frame], now: float) -> None:
        """One typed message. It goes out with the next flush, together with others of its topic that came right before.

        Raises Overloaded where messages are waited for, and too many wait.
        """
        if self.blocked:
            self.admit(1)
        if not buffers and self.join(topic, codec, payload):
            return
        self.end_run(now)
        line = self._lines.get(topic)
        if line is None:
            line = self._new_line(topic)
        if buffers or self._blocks or len(payload) > self._alone:
            self._send(line, codec, payload, 1, buffers, now)
        else:
            self._run_line, self._run_codec, self._run_room = line, codec, self._most - len(payload)
            self._run = [payload]

    def admit(self, count: int) -> None:
        """Whether so many more may wait, of which none is published yet. Raises Overloaded if not."""
        waiting = len(self.blocked)
        if waiting and waiting + count > self._limits.queue:
            more = "" if count == 1 else f", and there is no room for {count} more"
            raise Overloaded(
                f"{waiting} messages wait for a slow subscriber{more}; await what publishes, or publish less"
            )

    def join(self, topic: bytes, codec: int, payload: bytes) -> bool:
        """The usual case of ``publish``: one more of what is published just now. False: it is another, or too much."""
        line = self._run_line
        if line is None or line.topic != topic or codec != self._run_codec:
            return False
        run = self._run
        size = len(payload)
        room = self._run_room - size
        if room < 0 or size > self._alone or len(run) >= wire.BATCH_COUNT:
            return False
        run.append(payload)
        self._run_room = room
        return True

    def publish_list(self, topic: bytes, codec: int, payload: bytes, count: int, now: float) -> None:
        """So many typed messages, encoded as one array already: they go out together. Not where messages are waited for."""
        self.end_run(now)
        line = self._lines.get(topic) or self._new_line(topic)
        self._send(line, codec, payload, count, (), now)

    def publish_one(self, topic: bytes, codec: int, payload: bytes, now: float) -> Frames:
        """One typed message that waits for nothing: its frames, for the driver to send at once."""
        line = self._lines.get(topic)
        if line is None or not line.head or line.head[4] != codec:
            self.publish(topic, codec, payload, (), now)
            self.end_run(now)
            return self.outbox.pop()[1]
        line.sequence = sequence = line.sequence + 1
        line.changed_at = now
        self._recent[line] = None
        self.statistics.published += 1
        return topic, wire.record(line.head, 1, sequence, int(now * 1e6)) + payload

    def publish_plain(self, frames: Frames, now: float) -> None:
        """Frames as they are, one message each: a foreign SUB reads them."""
        self.end_run(now)
        self._emit(frames, 1)

    @property
    def held(self) -> int:
        """Messages that wait for the end of the tick, or for room."""
        return len(self._run) + len(self.blocked)

    def end_run(self, now: float) -> None:
        """What was published so far becomes a message."""
        line = self._run_line
        if line is not None:
            run, self._run, self._run_line = self._run, [], None
            payload = run[0] if len(run) == 1 else wire.join(self._run_codec, run)
            self._send(line, self._run_codec, payload, len(run), (), now)

    def _new_line(self, topic: bytes) -> _Line:
        if len(self._lines) >= self._limits.topics:
            oldest = self._lines.pop(next(iter(self._lines)))
            slot = crc32(oldest.topic) % _SLOTS
            self._forgotten[slot] = max(self._forgotten.get(slot, 0), oldest.sequence)
            self._recent.pop(oldest, None)
        sequence = self._forgotten.get(crc32(topic) % _SLOTS, 0) if self._forgotten else 0
        line = self._lines[topic] = _Line(topic, sequence)
        return line

    def _send(self, line: _Line, codec: int, payload: bytes, count: int, buffers: Sequence[Frame], now: float) -> None:
        first = line.sequence + 1
        line.sequence += count
        line.changed_at = now
        self._recent[line] = None
        head = line.head
        if not head or head[4] != codec or buffers:
            flags = (wire.BUFFERS if buffers else 0) | (0 if head else wire.START)
            head = wire.head(codec, flags, self._incarnation)
            line.head = wire.head(codec, 0, self._incarnation)
        self._emit((line.topic, wire.record(head, count, first, int(now * 1e6)) + payload, *buffers), count)

    def _emit(self, frames: Frames, count: int) -> None:
        self.statistics.published += count
        if not self._blocks:
            self.outbox.append((PORT, frames, None))
            return
        self.ticket += 1
        self._queue(Held(frames, count, self.ticket))

    def _queue(self, held: Held) -> None:
        if self.blocked:
            self.blocked.append(held)
        else:
            self.outbox.append((PORT, held.frames, held))

    def waits(self, ticket: int) -> bool:
        """Whether that message has not been taken yet. Ask after a flush."""
        return bool(self.blocked) and any(held.ticket == ticket for held in self.blocked)

    def withdraw(self, first: int, last: int) -> int:
        """Do not send these any more: their deadline has passed, or nobody wants them sent. How many messages that were."""
        kept: deque[Held] = deque()
        dropped = 0
        for held in self.blocked:
            if first <= held.ticket <= last:
                dropped += held.count
            else:
                kept.append(held)
        self.blocked = kept
        self.statistics.published -= dropped
        self.statistics.dropped += dropped
        return dropped

    def wait(self, awaited: Awaited) -> bool:
        """Whether there are enough subscribers; if not, ``Enough`` comes when there are."""
        return self.audience.wait(awaited)

    def close(self, now: float) -> None:
        """The last word: what was published last, so that nobody waits for more."""
        self.end_run(now)
        self._beat(now)

    # -- what the driver tells ------------------------------------------------------------------------------------

    def receive(self, port: int, frames: Frames, now: float) -> None:
        """A subscription comes or goes (XPUB: one byte, then the prefix), or a subscriber asks whether its own are in place."""
        message = bytes(frames[0]) if len(frames) == 1 and len(frames[0]) < 4096 else b""
        kind, prefix = message[:1], message[1:]
        counts = self.statistics
        if kind not in (b"\0", b"\1"):
            counts.undecodable += 1
        elif prefix.startswith(wire.NONCE_TOPIC):
            if len(prefix) != len(wire.NONCE_TOPIC) + wire.NONCE_BYTES:
                counts.undecodable += 1
            elif kind == b"\1":
                counts.echoed += 1
                self._echo(prefix, now)
        elif kind == b"\1":
            counts.subscribed += 1
            self.events.extend(map(Enough, self.audience.change(prefix, 1)))
        else:
            counts.unsubscribed += 1
            self.audience.change(prefix, -1)

    def _echo(self, topic: bytes, now: float) -> None:
        """Everything published before is on its way; then the last sequences as of now."""
        self.end_run(now)
        last: list[tuple[bytes, int]] = []
        size = 0
        for line in reversed(self._lines.values()):
            size += len(line.topic) + 12
            if len(last) >= wire.TABLE_COUNT or size > wire.TABLE_BYTES:
                break
            last.append((line.topic, line.sequence))
        self._tell(topic, last, now, complete=len(last) == len(self._lines) and not self._forgotten)

    def _beat(self, now: float) -> None:
        """Last sequences of topics that were published on lately; several messages if they are many."""
        self._beats += 1
        since = now - self._heartbeat.expiry
        self._recent = {line: None for line in self._recent if line.changed_at >= since}
        lines = list(self._recent)
        while True:
            part: list[tuple[bytes, int]] = []
            size = 0
            while lines and len(part) < wire.TABLE_COUNT and size < wire.TABLE_BYTES - wire.LONGEST_SUBSCRIPTION:
                line = lines.pop()
                part.append((line.topic, line.sequence))
                size += len(line.topic) + 12
            self._tell(wire.HEARTBEAT_TOPIC, part, now, complete=False)
            if not lines:
                return

    def _tell(self, topic: bytes, last: Sequence[tuple[bytes, int]], now: float, *, complete: bool) -> None:
        header = wire.record(wire.head(1, 0, self._incarnation), 0, self._beats, int(now * 1e6))
        frames = (topic, header + wire.table(last, complete=complete))
        if not self._blocks:
            self.outbox.append((PORT, frames, None))
        elif len(self.blocked) < self._limits.queue:
            self._queue(Held(frames, 0, 0))

    def link(self, port: int, state: Link, now: float) -> None:
        """A publisher has many connections; none of them is the link."""

    def sent(self, token: Any, outcome: Sent, now: float) -> None:
        """libzmq had no room for a message: it, and what comes after it, waits in order."""
        if token is None:
            self.statistics.dropped += 1
            return
        self.blocked.append(token)
        self.blocked.extend(entry[2] for entry in self.outbox)
        self.outbox.clear()
        self._retry_at = now + RETRY

    def _retry(self) -> None:
        self.outbox.extend((PORT, held.frames, held) for held in self.blocked)
        self.blocked.clear()
        self._retry_at = _NEVER

    def wake(self, now: float) -> None:
        """A heartbeat is due, or a blocked message another try."""
        if self._beat_at <= now:
            self._beat_at = now + self._heartbeat.interval
            self.end_run(now)
            self._beat(now)
        if self._retry_at <= now:
            self._retry()

    def dispatch(self, now: float) -> None:
        """Nothing comes in but subscriptions."""

    def flush(self, now: float) -> None:
        """The tick is over."""
        if self._run_line is not None:
            self.end_run(now)

    @property
    def wakes_at(self) -> float | None:
        """The next heartbeat, or the next try."""
        return min(self._beat_at, self._retry_at)
