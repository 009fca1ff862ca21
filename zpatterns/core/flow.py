"""PUSH and PULL: items in, messages out, and back. libzmq decides who gets what; here items of one turn become one message.

There is no acknowledgement: what libzmq has taken, and its peer has not read, is lost with that peer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..codec import MSGPACK
from ..errors import DecodeError
from ..wire import jobs as j
from ..wire.message import is_typed
from .machine import Frame, Frames, Link, Sent

BARE, LISTED = -1, -2


@dataclass(slots=True)
class PushPullStatistics:
    """Counters of one end of a flow."""

    items: int = 0
    """Items that were given to it, or that came in."""
    messages: int = 0
    """Messages they travelled in."""
    undecodable: int = 0
    """Messages that are not what this end takes."""
    unsent: int = 0
    """Items that nobody took before this end was closed. What libzmq had taken is not among them."""


class Outflow:
    """Items become messages of at most ``batch`` each. The application looks at ``waiting`` before it gives more."""

    expects: bool = False
    """Nothing ever comes in."""

    def __init__(self, batch: int) -> None:
        self.outbox: deque[tuple[int, Frames, Any]] = deque()
        self.events: deque[Any] = deque()
        self.statistics: PushPullStatistics = PushPullStatistics()
        self.waiting: int = 0
        """Items that libzmq has not taken."""
        self._batch = min(batch, j.ITEMS_MAX)
        self._messages: deque[tuple[int, Frames]] = deque()
        self._items: list[bytes] = []
        self._bytes = 0
        self._codec = 0
        self._blocked = False

    def put(self, codec: int, payload: Frame, buffers: Frames = ()) -> None:
        """One typed item."""
        if not buffers and type(payload) is bytes and len(payload) <= j.ALONE and self._batch > 1:
            self.put_small(codec, payload)
            return
        self.waiting += 1
        self.statistics.items += 1
        self._close()
        self._messages.append((1, (j.item(codec), payload, *buffers)))

    def put_small(self, codec: int, payload: bytes) -> None:
        """One typed item of at most ``ALONE`` bytes: it shares a message with those before and behind it."""
        if codec != self._codec:
            self._close()
            self._codec = codec
        self.waiting += 1
        self.statistics.items += 1
        items = self._items
        items.append(payload)
        size = self._bytes = self._bytes + len(payload)
        if size >= j.CHUNK_BYTES or len(items) >= self._batch:
            self._close()

    def put_many(self, codec: int, payloads: list[bytes]) -> None:
        """Small typed items, as `put` would take them one by one, at a fraction of the cost."""
        count, batch = len(payloads), self._batch
        self.waiting += count
        self.statistics.items += count
        self._close()
        self._codec = codec
        for at in range(0, count, batch):
            self._items = payloads[at : at + batch]
            self._bytes = 0
            self._close()

    def put_list(self, payload: bytes, count: int) -> None:
        """So many items that are one msgpack array already: a message of their own."""
        self.waiting += count
        self.statistics.items += count
        self._close()
        self._messages.append((count, (j.items(MSGPACK, count), payload)))

    def put_bare(self, frames: Frames) -> None:
        """One message of a foreign peer's kind."""
        self.waiting += 1
        self.statistics.items += 1
        self._messages.append((1, frames))

    def _close(self) -> None:
        """The message that is being filled is complete."""
        items = self._items
        if items:
            if len(items) == 1:
                self._messages.append((1, (j.item(self._codec), items[0])))
            else:
                header = j.items(self._codec, len(items))
                self._messages.append((len(items), (header, j.encode_items(self._codec, items))))
            self._items, self._bytes = [], 0

    def flush(self, now: float) -> None:
        """The turn is over: what it gave goes out, if it is taken."""
        self._close()
        if not self._blocked:
            for message in self._messages:
                self.outbox.append((0, message[1], message))
                self.waiting -= message[0]
                self.statistics.messages += 1
            self._messages.clear()

    def sent(self, token: Any, outcome: Sent, now: float) -> None:
        """Not taken: this one and those behind it wait."""
        left: list[tuple[int, Frames]] = [token, *(entry[2] for entry in self.outbox)]
        self.outbox.clear()
        self._blocked = True
        self._messages.extendleft(reversed(left))
        self.waiting += sum(count for count, _ in left)
        self.statistics.messages -= len(left)

    def close(self) -> None:
        """What still waits is given up, and what was on its way to libzmq when that was closed."""
        self.statistics.unsent += self.waiting + sum(entry[2][0] for entry in self.outbox)
        self.statistics.messages -= len(self.outbox)
        self.waiting = 0
        self.outbox.clear()
        self._messages.clear()
        self._items, self._bytes = [], 0

    def link(self, port: int, state: Link, now: float) -> None:
        """There may be room again."""
        self._blocked = False

    def receive(self, port: int, frames: Frames, now: float) -> None:
        """A PUSH receives nothing."""

    def dispatch(self, now: float) -> None:
        """Nothing to hand out."""

    def wake(self, now: float) -> None:
        """Nothing to do at any time."""

    wakes_at: float | None = None


class Inflow:
    """Messages become items, in ``chunks`` of ``(codec, payloads in reverse, buffers)``. The codec BARE is a bare message;
    LISTED is one payload that is a list of items, whose number is in ``buffers``.
    """

    expects: bool = True

    def __init__(self, *, bare: bool) -> None:
        self.outbox: deque[tuple[int, Frames, Any]] = deque()
        self.events: deque[Any] = deque()
        self.statistics: PushPullStatistics = PushPullStatistics()
        self.chunks: deque[tuple[int, list[Frame], Frames] | DecodeError] = deque()
        self.waiting: int = 0
        """Messages in there."""
        self._bare = bare

    def receive(self, port: int, frames: Frames, now: float) -> None:
        """A message came in. One that is not of the kind that is read here is an error in its place."""
        self.waiting += 1
        self.statistics.messages += 1
        try:
            self.chunks.append(self._chunk(frames))
        except DecodeError as error:
            self.statistics.undecodable += 1
            self.chunks.append(error)

    def _chunk(self, frames: Frames) -> tuple[int, list[Frame], Frames]:
        if self._bare:
            if len(frames) != 1:
                raise DecodeError(f"a bare item is one frame, not {len(frames)}", frames=frames)
            self.statistics.items += 1
            return BARE, [frames[0]], ()
        if len(frames) < 2 or not is_typed(frames[0]):
            raise DecodeError("not a typed item; to read bare messages, make it a Pull of bytes", frames=frames)
        command = j.parse(frames[0])
        if type(command) is j.Item:
            self.statistics.items += 1
            return command.codec, [frames[1]], frames[2:]
        if type(command) is j.Items and len(frames) == 2:
            if command.codec == MSGPACK:
                self.statistics.items += command.count
                return LISTED, [frames[1]], [command.count.to_bytes(2, "big")]
            payloads: list[Frame] = [*j.decode_array(command.count, frames[1])]
            payloads.reverse()
            self.statistics.items += command.count
            return command.codec, payloads, ()
        raise DecodeError(f"a {type(command).__name__} is no item", frames=frames)

    def flush(self, now: float) -> None:
        """Nothing to say."""

    def sent(self, token: Any, outcome: Sent, now: float) -> None:
        """A PULL sends nothing."""

    def link(self, port: int, state: Link, now: float) -> None:
        """Peers come and go."""

    def dispatch(self, now: float) -> None:
        """The application takes by itself."""

    def wake(self, now: float) -> None:
        """Nothing to do at any time."""

    wakes_at: float | None = None


def sizes(payload: Frame, buffers: Sequence[Frame]) -> int:
    """Bytes of an item."""
    return len(payload) + sum(memoryview(buffer).nbytes for buffer in buffers)
