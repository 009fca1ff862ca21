"""What a subscriber tells: its counters, and the events for its driver. Data, no rules."""

from __future__ import annotations

from dataclasses import dataclass

from .intake import Intake
from .readiness import Waiter


@dataclass(slots=True)
class SubscriberStatistics:
    """Counters of one subscriber, in messages."""

    received: int = 0
    """Typed and plain messages that came in and were wanted."""
    delivered: int = 0
    """Of these, given to a reader."""
    lost: int = 0
    """Numbered by a publisher and never arrived: dropped at a queue on the way, or sent while disconnected."""
    overflowed: int = 0
    """Dropped or replaced in our own queue, as the overflow policy says."""
    stale: int = 0
    """Older than ``max_age`` when a reader came to them."""
    duplicate: int = 0
    """Came a second time, by another way."""
    undecodable: int = 0
    """Not what their header or type says, or over the limits."""
    unwanted: int = 0
    """Matched libzmq's prefix and no subscription."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """Event: a reader's queue has something."""

    intake: Intake


@dataclass(frozen=True, slots=True)
class Ready:
    """Event: what a waiter waited for."""

    waiter: Waiter


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages of one topic that did not reach the reader. For ``on_gap``."""

    topic: str
    publisher: str
    """The publisher's incarnation, in hex."""
    missed: int
    reason: str
    """``lost``: they never arrived. ``overflow``: our own queue was full."""
