"""What both worlds' publishers and subscribers are made of: endpoints checked, a machine, its sockets; topics checked."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any, TypedDict

from ..contract import Topic
from ..core.heard import Gap
from ..core.intake import Intake
from ..core.machine import Frame
from ..core.publisher import Publisher
from ..core.subscriber import Subscriber
from ..core.subscriptions import Subscription
from ..drive import sockets
from ..drive.bulk import SubscriberPump
from ..drive.fan import Sub, Xpub
from ..drive.pump import Pump
from ..drive.sockets import Context
from ..endpoint import Endpoint, Insecure
from ..errors import Closed, ConfigurationError, MessageTooLarge, PeerUnavailable, RequestTimeout, ZPatternsError
from ..policy import Heartbeat, Limits, Overflow, SocketOptions
from ..wire.published import BATCH_BYTES, BATCH_COUNT, LONGEST_SUBSCRIPTION, PREFIX, RECORD, is_typed
from .arguments import Types, check_intake
from .guards import checked_endpoint
from .opening import spelled

log: logging.Logger = logging.getLogger("zpatterns")
Handler = Callable[[Any], Any]


class SubscriberOptions(TypedDict, total=False):
    """The keyword arguments of both worlds' ``Subscriber``, for its overloads."""

    bind: bool
    overflow: Overflow
    max_age: float | None
    on_gap: Callable[[Gap], None] | None
    on_connection: Callable[[str, bool], None] | None
    limits: Limits | None
    options: SocketOptions | None
    security: Insecure | None
    context: Context | None


def checked(endpoints: str | Sequence[str], *, bind: bool, security: Insecure | None) -> list[Endpoint]:
    """Endpoints that may be used."""
    return [checked_endpoint(text, bind=bind, security=security, multicast=True) for text in spelled(endpoints)]


def publisher_pump(
    endpoints: Sequence[Endpoint],
    *,
    bind: bool,
    overflow: Overflow,
    heartbeat: Heartbeat,
    limits: Limits,
    options: SocketOptions,
    context: Context | None,
) -> tuple[Publisher, Pump, Xpub]:
    """The machine of a publisher and its socket."""
    blocks = overflow is Overflow.BLOCK
    port = Xpub(context or sockets.default_context(), endpoints, options, limits, bind=bind, blocks=blocks)
    machine = Publisher(incarnation=os.urandom(8), now=monotonic(), blocks=blocks, heartbeat=heartbeat, limits=limits)
    return machine, Pump(machine, [port], limits), port


def not_a_topic(given: object) -> ConfigurationError:
    """What was published on is no topic."""
    return ConfigurationError(
        f"a typed message is published on a Topic, such as Topic('lab.temperature', float), not {given!r}; "
        "frames as they are go out with publish_plain(frames)"
    )


def check_publisher_overflow(overflow: Overflow) -> None:
    """libzmq has no more ways than two."""
    if overflow not in (Overflow.DROP_NEWEST, Overflow.BLOCK):
        raise ConfigurationError(f"a publisher's overflow is DROP_NEWEST or BLOCK, not {overflow!r}")


def subscriber_pump(
    endpoints: Sequence[Endpoint],
    *,
    bind: bool,
    limits: Limits,
    options: SocketOptions,
    context: Context | None,
) -> tuple[Subscriber, SubscriberPump, list[str]]:
    """The machine of a subscriber, its sockets, and their real addresses."""
    machine = Subscriber(len(endpoints), nonce=lambda: os.urandom(16), limits=limits)
    ports: list[Sub] = []
    try:
        for endpoint in endpoints:
            ports.append(
                Sub(
                    context or sockets.default_context(),
                    endpoint,
                    options,
                    limits,
                    bind=bind,
                    wants=lambda: machine.expects,
                    plain=lambda: machine.plain,
                )
            )
    except BaseException:
        for port in ports:
            port.close(0)
        raise
    return machine, SubscriberPump(machine, ports, limits), [port.address for port in ports]


def reading(limits: Limits, overflow: Overflow, max_age: float | None, *, main: bool = True) -> Intake:
    """The queue of a reader."""
    check_intake(overflow, max_age)
    return Intake(limits.backlog, overflow, max_age, main=main)


def subscription(topic: Topic[Any] | bytes, intake: Intake, types: Types | None = None) -> Subscription:
    """What a reader asks for, checked; ``types`` are those of what it asks for already."""
    if isinstance(topic, Topic):
        topic.body_codec  # noqa: B018  a type that cannot be read is refused here, not at the first message
        topic.many_codec  # noqa: B018
        if types is not None:
            types.add(topic)
        return Subscription(topic.prefix, intake, matches=topic.matches, application=topic)
    topic = prefix_of(topic)
    if len(topic) > LONGEST_SUBSCRIPTION:
        raise ConfigurationError(f"a prefix has at most {LONGEST_SUBSCRIPTION} bytes, this one has {len(topic)}")
    if topic.startswith(PREFIX):
        raise ConfigurationError("the prefix begins as the library's own topics do")
    return Subscription(topic, intake)


def prefix_of(topic: Topic[Any] | bytes) -> bytes:
    """What libzmq filters by."""
    if isinstance(topic, Topic):
        return topic.prefix
    if not isinstance(topic, bytes):
        raise ConfigurationError(
            f"subscribe to a Topic, or to the bytes messages of a foreign publisher begin with, not {topic!r}"
        )
    return topic


def expecting(topic: Topic[Any] | bytes) -> Callable[[bytes], bool]:
    """Whether a subscription to some prefix is one to a topic, or to messages that begin with these bytes."""
    if isinstance(topic, Topic):
        return topic.expects
    if not isinstance(topic, bytes):
        raise ConfigurationError(f"subscriptions are to a Topic, or to messages that begin with bytes, not {topic!r}")
    return lambda prefix: topic.startswith(prefix) or prefix.startswith(topic)


def plain_frames(frames: bytes | Sequence[bytes], limits: Limits) -> list[bytes]:
    """The frames of a message for foreign subscribers, checked."""
    found = [frames] if isinstance(frames, bytes) else list(frames)
    if not found or not all(isinstance(frame, bytes) for frame in found):
        raise ConfigurationError("a plain message is bytes, or a list of at least one bytes: [topic, body]")
    if found[0].startswith(PREFIX) or (len(found) > 1 and is_typed(found[1])):
        raise ConfigurationError(
            "a plain message must not look like a typed one: it begins with the magic of zpatterns"
        )
    check_size(sum(map(len, found)), len(found), limits)
    return found


def encoded_each(topic: Topic[Any], bodies: list[Any], limits: Limits) -> list[tuple[bytes, Sequence[Frame]]]:
    """Each body by itself, checked."""
    encoded = list(map(topic.encode, bodies))
    most = limits.message - RECORD
    for payload, buffers in encoded:
        if len(payload) > most or buffers:
            check_size(len(payload) + sum(map(len, buffers)), 2 + len(buffers), limits)
    return encoded


def encoded_lists(topic: Topic[Any], bodies: list[Any], limits: Limits) -> list[tuple[bytes, int]] | None:
    """Bodies as arrays of some each, several times faster. None where that is not so, or too much for one message."""
    pack = topic.body_codec.pack_many
    if pack is None:
        return None
    lists: list[tuple[bytes, int]] = []
    most = min(BATCH_BYTES, limits.message - RECORD)
    for start in range(0, len(bodies), BATCH_COUNT):
        part = bodies[start : start + BATCH_COUNT]
        payload = pack(part) if len(part) > 1 else topic.encode(part[0])[0]
        if payload is None or len(payload) > most:
            return None
        lists.append((payload, len(part)))
    return lists


def check_size(size: int, frames: int, limits: Limits) -> None:
    """Before libzmq cuts the connection of a subscriber that takes no more."""
    if size + RECORD > limits.message or frames > limits.frames:
        raise MessageTooLarge(
            f"{size} bytes in {frames} frames: over Limits(message={limits.message}, frames={limits.frames}); publish "
            "less at once, or raise the limits on both sides"
        )


def torn() -> Closed:
    """Nobody closed the subscriber, and it reads no more."""
    return Closed("the subscriber's sockets are gone: was its context terminated?")


def not_ready(machine: Subscriber, addresses: Sequence[str], publishers: int, timeout: float) -> ZPatternsError:
    """Why it is not known whether subscriptions are in place."""
    gone = [text for text, up in zip(addresses, machine.up, strict=True) if not up]
    if gone:
        return PeerUnavailable(f"not connected to {', '.join(gone)} within {timeout} s: is a publisher bound there?")
    mute = [
        f"{text} ({len(probe.heard)} of {publishers})"
        for text, probe in zip(addresses, machine.readiness.probes, strict=True)
        if len(probe.heard) < publishers
    ]
    return RequestTimeout(
        f"no answer within {timeout} s at {', '.join(mute)}. A plain PUB, which is not a zpatterns Publisher, cannot tell "
        "whether a subscription is in place: then nobody can know",
        sent=True,
    )


class Handlers:
    """The decorator handlers of a subscriber: called in order, one message at a time."""

    def __init__(self) -> None:
        self.errors = 0
        self._all: list[tuple[Topic[Any] | bytes, Handler]] = []
        self._found: dict[tuple[str, bool], list[Handler]] = {}

    def add(self, topic: Topic[Any] | bytes, handler: Handler) -> None:
        """One more."""
        self._all.append((topic, handler))
        self._found.clear()

    def of(self, message: Any) -> Iterable[Handler]:
        """Those that want a message."""
        key = message.topic, bool(message.publisher)
        found = self._found.get(key)
        if found is None:
            if len(self._found) > 4096:
                self._found.clear()
            found = self._found[key] = [handler for topic, handler in self._all if _wants(topic, message)]
        return found

    def failed(self, message: Any, handler: Handler, error: Exception) -> None:
        """A handler raised: that is its own affair, and the log's."""
        self.errors += 1
        name = getattr(handler, "__qualname__", handler)
        log.error("the handler %s failed at a message of %r", name, message.topic, exc_info=error)


def _wants(topic: Topic[Any] | bytes, message: Any) -> bool:
    if isinstance(topic, Topic):
        return bool(message.publisher) and topic.match(message.topic) is not None
    return not message.publisher and bool(message.body[0].startswith(topic))


def no_gap_hook(gap: Gap) -> None:
    """Gaps are logged in any case."""
    log.debug("%s: %d messages missed (%s)", gap.topic, gap.missed, gap.reason)


def gap_listener(on_gap: Callable[[Gap], None] | None) -> Callable[[Gap], None]:
    """For the log and for the user's hook."""
    if on_gap is None:
        return no_gap_hook

    def listen(gap: Gap) -> None:
        no_gap_hook(gap)
        on_gap(gap)

    return listen
