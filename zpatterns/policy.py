"""Every default of the library, in frozen dataclasses, each with its reason; no behaviour but checking itself.

Durations are float seconds, sizes are bytes, counts are messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any

from .errors import ConfigurationError

DEFAULT_TIMEOUT = 7.5
"""Seconds a call may take over all attempts: three tries of the guide's 2.5 s (Lazy Pirate, ch. 4)."""

DEFAULT_JOB_TIMEOUT = 300.0
"""Seconds a worker may take for one job before it is given to another: long, because then it may run twice."""

DEFAULT_WORKER_TIMEOUT = 30.0
"""Seconds jobs wait for a first worker of their stage: time to start a fleet of them."""

DEFAULT_GRACE = 10.0
"""Seconds a server that was told to stop gives its running handlers."""


def is_finite(value: Any) -> bool:
    """Whether it is a number that ends, of whatever library."""
    return isinstance(value, Real) and -inf < float(value) < inf


def is_whole(value: Any) -> bool:
    """Whether it is a whole number, of whatever library."""
    return isinstance(value, Integral)


def _positive(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if not is_finite(value) or not value > 0:
            raise ConfigurationError(f"{type(owner).__name__}({name}={value!r}): must be a number greater than 0")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a request is sent, and how long to wait between (exponential back-off with full jitter).

    Only what cannot run twice by it is sent again: see "Rules of a call" in the documentation.
    """

    attempts: int = 3
    """Sends in all, the first included: the guide's REQUEST_RETRIES."""
    backoff: float = 0.05
    """Upper bound of the first pause; doubles each time. Jitter keeps a fleet from retrying in step."""
    backoff_max: float = 1.0

    def __post_init__(self) -> None:
        if not is_whole(self.attempts) or self.attempts < 1:
            raise ConfigurationError(f"Retry(attempts={self.attempts}): at least one attempt is needed")
        _positive(self, "backoff", "backoff_max")


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Application heartbeats. ZMTP's stay off: under back-pressure they can abort the process (libzmq #3937)."""

    interval: float = 1.0
    """Seconds between signs of life (the guide's value)."""
    liveness: int = 3
    """Missed intervals after which a peer counts as gone."""

    def __post_init__(self) -> None:
        _positive(self, "interval", "liveness")

    @property
    def expiry(self) -> float:
        """Seconds of silence after which the peer is gone."""
        return self.interval * self.liveness


FOREIGN_HEARTBEAT = Heartbeat(interval=2.5, liveness=3)
"""What the guide's Majordomo workers keep to (7/MDP leaves it open): how long one that is not ours may be silent."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What every queue, table and message is bounded by. Full means a typed error or a counted drop."""

    queue: int = 1000
    """Requests that wait in the client for a server; then ``Overloaded``."""
    in_flight: int = 1000
    """Requests sent to one endpoint and not answered yet; the rest wait in the queue."""
    intake: int = 1000
    """Requests a server holds that no handler has taken; then it answers ``Overloaded``."""
    concurrency: int = 1000
    """``async def`` handlers that run at once."""
    peer_queue: int = 1000
    """Replies kept for one peer that does not read; then they are dropped and counted."""
    message: int = 64 * 2**20
    """Bytes of the largest message, sent or accepted (ZMQ_MAXMSGSIZE is set to match)."""
    frames: int = 64
    """Frames of the largest message: libzmq bounds neither their number nor their sum."""
    depth: int = 32
    """Nesting of a decoded body."""
    items: int = 131_072
    """Entries of one array or map: 1 MB of empty maps would decode to 74 MB."""
    error_text: int = 2048
    """Bytes of error text in a reply; inputs are never quoted."""
    buffer: int = 65_536
    """``bytes`` from this size travel as a frame of their own: below, copying is cheaper."""
    credit: int = 64
    """Parts of a stream that may be under way before the reader has taken them."""
    dedupe: int = 10_000
    """Replies a server remembers by request id; then new ``dedupe`` requests are refused."""
    dedupe_window: float = 60.0
    """Seconds a remembered reply is kept after its request's budget ended."""
    workers: int = 10_000
    """Workers that a ventilator or a broker knows at once; a ventilator does not answer more, a broker disconnects them."""
    deliveries: int = 5
    """Workers a job or request is given to, one after the other, before it is a dead letter: it may be what kills them."""
    service_queue: int = 10_000
    """Broker: requests that wait for a worker of one service; then ``Overloaded``."""
    client_queue: int = 1000
    """Broker: of these, those of one client: a flood is refused before it takes the room of others."""
    services: int = 1000
    """Broker: names that nobody serves and requests wait for; any client can ask for any name."""
    dead_letters: int = 1000
    """Broker: dead letters kept; the oldest make room."""
    request_expiry: float = 60.0
    """Broker: seconds a request that names no budget (a foreign client's) is kept."""
    busy_silence: float = 30.0
    """Broker: seconds a foreign worker may be silent while it has a request: the guide's send no heartbeats then."""
    backlog: int = 10_000
    """Messages a subscriber holds that its reader has not taken; then its overflow policy decides."""
    topics: int = 65_536
    """Topics whose sequences a publisher or subscriber remembers, and subscriptions a publisher counts."""
    drain: int = 1000
    """Messages read in one go before anything else gets its turn."""

    def __post_init__(self) -> None:
        _positive(self, *self.__slots__)


class Overflow(Enum):
    """What happens to messages that a full queue has no room for. Every message that is dropped is counted."""

    DROP_OLDEST = "drop_oldest"
    """The newest are kept."""
    DROP_NEWEST = "drop_newest"
    """What is in the queue is kept. For a publisher: libzmq drops for the subscriber that is behind, and for no other."""
    LATEST = "latest"
    """One message of each topic is kept, the last one."""
    BLOCK = "block"
    """Nothing is dropped here: whoever sends waits. With several receivers, the slowest then holds up all."""


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """Options set on every socket before it binds or connects. ``extra`` reaches all the others of libzmq by name."""

    linger: float = 1.0
    """Seconds unsent messages may hold up closing. libzmq's own default is for ever."""
    high_water_mark: int = 1000
    """Messages per peer and direction; never 0, which would be unbounded."""
    reconnect_interval: float = 0.1
    reconnect_interval_max: float = 2.0
    """Reconnecting doubles up to this: recovery stays within heartbeat expiry + 1 s."""
    handshake_timeout: float = 5.0
    """A peer that connects and stays mute is dropped (libzmq's default is 30 s)."""
    keepalive_idle: int = 1
    keepalive_interval: int = 1
    keepalive_count: int = 3
    """TCP keepalive: a half-open link is noticed in 4 s, not after 15 minutes."""
    retransmit_timeout: float = 3.0
    """ZMQ_TCP_MAXRT: the same for a link with data under way. Not for Publisher, Push and Pair, whose peer may rightly read
    nothing for longer: the system's own limit holds there, 15 minutes in Linux; ``extra={"TCP_MAXRT": 3000}`` sets another."""
    multicast_rate: int = 40_000
    """Kilobits per second that a publisher may send over pgm and epgm, and that is lost beyond. libzmq's default is 100."""
    multicast_recovery: float = 2.0
    """Seconds a subscriber over pgm and epgm may be away and still get everything: rate times this is kept in memory."""
    multicast_hops: int = 1
    """Routers that a multicast packet may pass, plus one: by default it stays in its network."""
    extra: Mapping[str, int | bytes] = field(default_factory=lambda: MappingProxyType({}))
    """Further socket options by their libzmq name without the prefix: ``{"TOS": 16}``."""

    def __post_init__(self) -> None:
        if not is_finite(self.linger) or self.linger < 0:
            raise ConfigurationError(
                f"SocketOptions(linger={self.linger!r}): must be seconds, 0 or more; closing never waits for ever"
            )
        _positive(self, "high_water_mark", "reconnect_interval", "reconnect_interval_max", "handshake_timeout")
        _positive(self, "multicast_rate", "multicast_recovery", "multicast_hops")
