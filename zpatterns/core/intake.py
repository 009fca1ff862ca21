"""The bounded queue between a subscriber's sockets and one reader, and what happens when it is full.

It holds what came in as it came, several messages in one chunk where they came so; a chunk is opened when it is read. A
reader that is behind gets a moment's patience, in which nothing is read from the sockets; then the overflow policy rules.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Any

from ..policy import Overflow
from .gaps import Line
from .machine import Frame, Frames

PATIENCE = 0.02
"""Seconds a full queue waits for its reader before it drops: a burst is no reason, and the socket's own queue holds on."""
RUN = 64
"""Messages that came one by one and wait in one chunk at most: as many as come together otherwise."""
_NEVER = float("inf")


class Route:
    """Where the messages of one line go: a reader's queue, and how far that reader has come."""

    __slots__ = ("application", "expected", "intake", "left", "line", "shed", "skipped", "source")

    def __init__(self, line: Line | None, intake: Intake, application: Any) -> None:
        self.line: Line | None = line
        """None for messages that are not ours: nobody numbers them."""
        self.intake: Intake = intake
        self.application: Any = application
        """The topic it was subscribed with; None: deliver the frames."""
        self.source: Any = None
        """What whoever opens its chunks keeps of it."""
        self.expected: int = 0
        """The sequence after the last one the reader was given, without what was skipped; 0: it was given none."""
        self.skipped: int = 0
        """Messages that were for others: a stream had the topic for itself."""
        self.left: int = 0
        """The first sequence that is for others, while that is so; else 0."""
        self.shed: int = 0
        """Messages this queue dropped and has not told of."""

    def pause(self, next_: int) -> None:
        """From this sequence on messages are for others."""
        self.left = self.left or next_

    def resume(self, next_: int) -> None:
        """From this sequence on they are for this reader: what came meanwhile it has not missed."""
        if self.left:
            self.skipped += next_ - self.left
            self.left = 0


class Chunk:
    """What one ZeroMQ message brought, or several that came one right after the other with one message each: of those in it
    the messages ``start`` to ``stop`` are wanted.
    """

    __slots__ = (
        "codec",
        "count",
        "first",
        "frames",
        "fresh_until",
        "payload",
        "route",
        "run",
        "skipped",
        "start",
        "stop",
    )

    def __init__(
        self, route: Route, first: int, count: int, codec: int, payload: Frame, frames: Frames, fresh_until: float
    ) -> None:
        self.route: Route = route
        self.skipped: int = route.skipped
        self.first: int = first
        self.count: int = count
        self.codec: int = codec
        self.start: int = 0
        self.stop: int = count
        self.payload: Frame = payload
        self.frames: Frames = frames
        """Buffers; of a message that is not ours, all its frames."""
        self.fresh_until: float = fresh_until
        self.run: list[Frame] | None = None
        """The payloads, where it is several messages; ``payload`` is the first of them."""


class Intake:
    """One reader's queue. ``application`` is whatever its driver wakes the reader with."""

    def __init__(self, limit: int, overflow: Overflow, max_age: float | None, *, main: bool = True) -> None:
        self.limit = limit
        self.overflow = overflow
        self.max_age = max_age
        self.main = main
        """Whether it gets what nobody else wants: a topic that is streamed is not read by plain iteration as well."""
        self.application: Any = None
        self.gone = False
        """Nobody reads it any more."""
        self.held: int = 0
        self.announced: bool = False
        """The driver was told that there is something, and nobody has taken all of it since."""
        self.full_until: float | None = None
        """Full: until then nothing more is put in; None when there is room."""
        self.relieved: Callable[[], None] | None = None
        self.overflowed: int = 0
        self.stale: int = 0
        self.delivered: int = 0
        self.missed: int = 0
        self.undecodable: int = 0
        """Counted by the reader, when it opens a chunk."""
        self.shedding: list[Route] = []
        """Routes that dropped something nobody was told of yet."""
        self.growing: Chunk | None = None
        """The newest chunk, if a message may join it."""
        self._chunks: deque[Chunk] = deque()
        self._latest: OrderedDict[bytes, Chunk] | None = OrderedDict() if overflow is Overflow.LATEST else None

    def put(self, chunk: Chunk, now: float) -> None:
        """One more chunk, or less of it, or of what is older."""
        wanted = 1
        if self._latest is not None:
            self._keep_latest(self._latest, chunk)
        else:
            wanted = chunk.stop - chunk.start
            held = self.held = self.held + wanted
            if held > self.limit and self.overflow is not Overflow.BLOCK:
                self._overflow(chunk, held - self.limit)
            if chunk.stop > chunk.start:
                self._chunks.append(chunk)
                alone = chunk.count == 1 and chunk.first and self.max_age is None and not chunk.frames
                self.growing = chunk if alone else None
        if self.full_until is None and self.held + wanted > self.limit:  # another one like it would not fit
            self.full_until = _NEVER if self.overflow is Overflow.BLOCK else now + PATIENCE

    def join(self, route: Route, first: int, payload: Frame) -> bool:
        """The usual case of ``put``: one more message goes into the newest chunk, whose like it is. False: it is another."""
        chunk = self.growing
        if chunk is None or chunk.route is not route or self.held + 1 >= self.limit:
            return False
        run = chunk.run
        if run is None:
            run = chunk.run = [chunk.payload]
        count = chunk.count
        if first != chunk.first + count or count >= RUN or count != chunk.stop:
            return False
        run.append(payload)
        chunk.count = chunk.stop = count + 1
        self.held += 1
        return True

    def _overflow(self, chunk: Chunk, excess: int) -> None:
        chunks = self._chunks
        if self.overflow is Overflow.DROP_NEWEST:
            drop = min(excess, chunk.stop)
            chunk.stop -= drop
            self._shed(chunk.route, drop)
            return
        while excess > 0:
            oldest = chunks[0] if chunks else chunk
            drop = min(excess, oldest.stop - oldest.start)
            oldest.start += drop
            self._shed(oldest.route, drop)
            excess -= drop
            if chunks and oldest.start == oldest.stop:
                chunks.popleft()

    def _keep_latest(self, latest: OrderedDict[bytes, Chunk], chunk: Chunk) -> None:
        key = bytes(chunk.frames[0]) if chunk.route.line is None else chunk.route.line.topic
        self.overflowed += chunk.stop - 1 - chunk.start  # replaced as asked for: counted, and no gap to report
        chunk.start = chunk.stop - 1
        if key in latest:
            self.overflowed += 1
            latest[key] = chunk  # in its old place, so that a busy topic cannot hold up the others
            return
        latest[key] = chunk
        self.held += 1
        if self.held > self.limit:
            self._shed(latest.popitem(last=False)[1].route, 1)

    def _shed(self, route: Route, dropped: int) -> None:
        self.held -= dropped
        self.overflowed += dropped
        if not route.shed:
            self.shedding.append(route)
        route.shed += dropped

    def take(self, now: float) -> tuple[Chunk, int] | None:
        """The oldest chunk, and how many messages of its topic its reader has missed before it. None: there is none."""
        while True:
            if self._latest is not None:
                if not self._latest:
                    break
                chunk = self._latest.popitem(last=False)[1]
            else:
                if not self._chunks:
                    break
                chunk = self._chunks.popleft()
                if chunk is self.growing:
                    self.growing = None
            wanted = chunk.stop - chunk.start
            self.held -= wanted
            if self.full_until is not None and self.held <= self.limit // 2:
                self._relieve()
            if chunk.fresh_until < now:
                self.stale += wanted
                continue
            route = chunk.route
            self.delivered += wanted
            if not chunk.first:
                return chunk, 0
            first = chunk.first - chunk.skipped
            missed = first + chunk.start - route.expected if route.expected else 0
            route.expected = first + chunk.stop
            self.missed += missed
            return chunk, missed
        self.announced = False
        return None

    def _relieve(self) -> None:
        self.full_until = None
        if self.relieved is not None:
            self.relieved()

    def clear(self) -> None:
        """Its reader has gone."""
        self._chunks.clear()
        self.growing = None
        if self._latest is not None:
            self._latest.clear()
        self.held = 0
        if self.full_until is not None:
            self._relieve()

    def waiting(self) -> Iterator[Chunk]:
        """What is in it, oldest first."""
        return iter(self._chunks if self._latest is None else self._latest.values())
