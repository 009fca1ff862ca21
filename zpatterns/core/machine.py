"""What a machine is, and the three words a driver and a machine share: link states, send outcomes, messages to send.

A driver owns the sockets and the clock. It feeds what happened (``receive``, ``link``, ``sent``, ``wake``) with the
time, calls ``dispatch`` and hands ``events`` to the application, then calls ``flush``, sends what is in ``outbox`` and
sleeps until ``wakes_at``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Any, Protocol

Frame = bytes | memoryview
Frames = Sequence[Frame]


class Link(Enum):
    """What a driver can know about the connection behind a port. inproc reports WRITABLE alone."""

    UP = "up"
    """The handshake is done."""
    DOWN = "down"
    """The connection is gone, or an attempt to make one failed. What was sent on it and not answered is lost."""
    REFUSED = "refused"
    """The handshake failed: wrong socket type, wrong key, no ZeroMQ at all. libzmq may not try again."""
    SECOND = "second"
    """At a bound PAIR: one more peer has connected. libzmq has one, and drops what this one sends."""
    WRITABLE = "writable"
    """A port that was FULL can take messages again."""


class Sent(Enum):
    """Why libzmq did not take a message. A message that no outcome is reported for was taken."""

    FULL = "full"
    """EAGAIN: the high-water mark, or no finished connection (IMMEDIATE)."""
    UNROUTABLE = "unroutable"
    """EHOSTUNREACH: a ROUTER does not know that routing id (any more)."""


class Undecodable(Protocol):
    """The one counter that drivers use."""

    undecodable: int


class Machine(Protocol):
    """One side of a protocol. All times are float seconds of one monotonic clock that the driver owns."""

    outbox: deque[tuple[int, Frames, Any]]
    """``(port, frames, token)`` in sending order; the token comes back in ``sent``."""
    events: deque[Any]
    """For the application, in order."""

    @property
    def statistics(self) -> Undecodable:
        """Its counters; drivers count there what they could not even hand over."""
        ...

    @property
    def expects(self) -> bool:
        """Whether any message can matter now; a driver need not look for more when none can."""
        ...

    def receive(self, port: int, frames: Frames, now: float) -> None:
        """A whole message came in at a port."""
        ...

    def link(self, port: int, state: Link, now: float) -> None:
        """The connection behind a port changed."""
        ...

    def sent(self, token: Any, outcome: Sent, now: float) -> None:
        """libzmq did not take an outbox entry."""
        ...

    def wake(self, now: float) -> None:
        """``wakes_at`` has come (or passed)."""
        ...

    def dispatch(self, now: float) -> None:
        """The sockets are drained: hand out the work that came in."""
        ...

    def flush(self, now: float) -> None:
        """Everything of this tick has been fed: write to ``outbox`` what may go out now."""
        ...

    @property
    def wakes_at(self) -> float | None:
        """When ``wake`` wants to be called next; never later than the earliest deadline inside."""
        ...
