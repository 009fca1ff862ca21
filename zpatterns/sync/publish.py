"""The blocking ``Publisher``: typed topics to any number of subscribers, and never a wait for one of them."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from .._shell.arguments import checked_count, chosen
from .._shell.calls import wait_seconds
from .._shell.guards import ForkGuard
from .._shell.pubsub import (
    check_publisher_overflow,
    check_size,
    checked,
    encoded_each,
    encoded_lists,
    expecting,
    not_a_topic,
    plain_frames,
    publisher_pump,
)
from ..contract import Topic
from ..core.publisher import PublisherStatistics
from ..drive.publishing import BlockingPublisher
from ..drive.sockets import Context
from ..endpoint import Insecure
from ..policy import DEFAULT_TIMEOUT, Heartbeat, Limits, Overflow, SocketOptions
from ..wire.published import RECORD

log: logging.Logger = logging.getLogger("zpatterns")

T = TypeVar("T")
U = TypeVar("U")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
T_co = TypeVar("T_co", covariant=True)


class Publisher:
    """Publishes typed messages to any number of subscribers, from any thread, and never waits for one of them.

    It binds its endpoint, or several; ``bind=False`` connects, to a forwarder for one. A subscriber that is behind by
    more than ``options.high_water_mark`` messages loses the next ones and counts them, as gaps; nobody else does. With
    ``overflow=Overflow.BLOCK`` nothing is dropped: ``publish`` waits up to ``timeout`` seconds for the slowest subscriber,
    which then holds up all. Each ``heartbeat.interval`` it tells the last sequences, so that a loss at the end shows too.
    ``security=Insecure()`` allows plaintext TCP beyond loopback.

    Raises ConfigurationError and its kinds for an endpoint that cannot be opened.
    """

    def __init__(
        self,
        endpoint: str | Sequence[str],
        /,
        *,
        bind: bool = True,
        overflow: Overflow = Overflow.DROP_NEWEST,
        timeout: float = 1.0,
        heartbeat: Heartbeat | None = None,
        limits: Limits | None = None,
        options: SocketOptions | None = None,
        security: Insecure | None = None,
        context: Context | None = None,
    ) -> None:
        check_publisher_overflow(overflow)
        patience = wait_seconds(timeout)
        self._limits = chosen(limits, Limits)
        self._most = self._limits.message - RECORD
        self._options = chosen(options, SocketOptions)
        self._fork = ForkGuard("Publisher")
        machine, pump, port = publisher_pump(
            checked(endpoint, bind=bind, security=security),
            bind=bind,
            overflow=overflow,
            heartbeat=chosen(heartbeat, Heartbeat),
            limits=self._limits,
            options=self._options,
            context=context,
        )
        self._port = port
        self._blocks = overflow is Overflow.BLOCK
        self._driver = BlockingPublisher(machine, pump, port, patience=patience, blocks=self._blocks)
        self._publish = self._driver.publish
        self._finalizer = weakref.finalize(self, _abandoned, self._driver, self._fork)
        self._finalizer.atexit = False  # the owner of its loop has an exit of its own, which sends what is unsent

    @property
    def endpoint(self) -> str:
        """The real address, port * resolved; of several, the first."""
        return self._port.addresses[0]

    @property
    def endpoints(self) -> list[str]:
        """All of them."""
        return list(self._port.addresses)

    @property
    def statistics(self) -> PublisherStatistics:
        """Counters since it was made."""
        return self._driver.machine.statistics

    def publish(self, topic: Topic[T], body: T, /) -> None:
        """Send one message to whoever subscribes to its topic. Returns at once, whether anybody does or not.

        Raises TypeError for a body of another type, ConfigurationError for what is no topic or has open placeholders,
        MessageTooLarge, Closed, and with ``Overflow.BLOCK`` Overloaded: the message was not sent, because a subscriber had
        no room in time.
        """
        self._fork.check()
        try:
            frame = topic.frame
        except AttributeError:
            raise not_a_topic(topic) from None
        payload, buffers = topic.encode(body)
        if len(payload) > self._most or buffers:
            check_size(len(payload) + sum(map(len, buffers)), 2 + len(buffers), self._limits)
        self._publish(frame, topic.wire_id, payload, buffers)

    def publish_many(self, topic: Topic[T], bodies: Iterable[T], /) -> None:
        """Send messages of one topic that share frames: several times faster, and the same to subscribers.

        With ``Overflow.BLOCK`` each of them waits for room. Overloaded says how many, the last ones, were not sent.
        """
        self._fork.check()
        try:
            frame, wire_id = topic.frame, topic.wire_id
        except AttributeError:
            raise not_a_topic(topic) from None
        found = list(bodies)
        lists = None if self._blocks else encoded_lists(topic, found, self._limits)
        if lists is not None:
            self._driver.publish_lists(frame, wire_id, lists)
        else:
            self._driver.publish_many(frame, wire_id, encoded_each(topic, found, self._limits))

    def publish_plain(self, frames: bytes | Sequence[bytes], /) -> None:
        """Send frames as they are: ``b"sub 1 hello"`` or ``[b"topic", b"body"]``. Any SUB that subscribes to how they begin gets them."""
        self._fork.check()
        self._driver.publish_plain(plain_frames(frames, self._limits))

    def wait_for_subscribers(
        self, topic: Topic[Any] | bytes, /, count: int = 1, timeout: float = DEFAULT_TIMEOUT
    ) -> int:
        """Wait until ``count`` subscriptions to a topic are in place; returns how many are.

        It counts subscriptions, not subscribers: one that asked twice, by a topic and by a pattern, counts twice. A
        forwarder asks once for all that are behind it, so there a count of 1 says that somebody subscribes, and no count
        says how many. libzmq does not say whose a subscription was: a bare SUB that asks for a prefix twice leaves one behind
        when it goes, and a hostile peer can end what others have, in this count alone.

        Raises RequestTimeout, which says how many there were.
        """
        self._fork.check()
        expects = expecting(topic)
        checked_count("count", count)
        return self._driver.wait(expects, count, wait_seconds(timeout))

    def close(self) -> None:
        """Tell the last sequences and close; waits until all has gone out, at most ``options.linger`` seconds. Idempotent."""
        if not self._fork.forked:
            self._finalizer.detach()
            self._driver.close(self._options.linger)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _abandoned(driver: BlockingPublisher, fork: ForkGuard) -> None:
    """It was dropped without close(): its thread must not turn for ever."""
    if not fork.forked:
        driver.abandon()
