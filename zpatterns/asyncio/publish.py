"""The asyncio ``Publisher``: as its blocking twin, on an event loop; what one tick publishes goes out together."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from .._shell.arguments import checked_count, chosen
from .._shell.calls import wait_seconds
from .._shell.dropped import watch
from .._shell.guards import ForkGuard
from .._shell.loops import check_loop
from .._shell.opening import spelled
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
from ..core.publisher import Publisher as PublisherMachine, PublisherStatistics
from ..drive.apublishing import AsyncPublisher
from ..drive.fan import Xpub
from ..drive.pump import Pump
from ..drive.sockets import Context
from ..endpoint import Insecure
from ..errors import Closed
from ..policy import DEFAULT_TIMEOUT, Heartbeat, Limits, Overflow, SocketOptions
from ..wire.published import RECORD

log: logging.Logger = logging.getLogger("zpatterns")

T = TypeVar("T")
_running_loop = asyncio._get_running_loop  # of another process it knows nothing, so a forked child goes the long way
U = TypeVar("U")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
T_co = TypeVar("T_co", covariant=True)


class Publisher:
    """``zpatterns.Publisher`` for asyncio: same arguments and rules.

    ``publish`` is called, or awaited: what one tick publishes goes out at its end, several messages of a topic together.
    Await it where you publish without end: it gives the loop its turns, and with ``Overflow.BLOCK`` waits for room. It
    belongs to the loop it is first used on; before that its endpoint is not open.
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
        self._texts = spelled(endpoint)
        self._limits = bounds = chosen(limits, Limits)
        self._most = self._limits.message - RECORD
        self._options = settings = chosen(options, SocketOptions)
        beat = chosen(heartbeat, Heartbeat)
        self._blocks = overflow is Overflow.BLOCK
        self._patience = wait_seconds(timeout)
        self._fork = ForkGuard("Publisher")
        endpoints = checked(endpoint, bind=bind, security=security)
        self._open: Callable[[], tuple[PublisherMachine, Pump, Xpub]] = lambda: publisher_pump(
            endpoints,
            bind=bind,
            overflow=overflow,
            heartbeat=beat,
            limits=bounds,
            options=settings,
            context=context,
        )  # without self: a cycle would wait for the collector
        self._driver: AsyncPublisher | None = None
        self._addresses: list[str] | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None
        self._closed = False

    @property
    def endpoint(self) -> str:
        """The real address once it is open, port * resolved; before that, what was asked for. Of several, the first."""
        return self.endpoints[0]

    @property
    def endpoints(self) -> list[str]:
        """All of them."""
        return list(self._addresses or self._texts)

    @property
    def statistics(self) -> PublisherStatistics:
        """Counters since it was opened."""
        return self._driver.machine.statistics if self._driver is not None else PublisherStatistics()

    def publish(self, topic: Topic[T], body: T, /) -> Awaitable[None]:
        """As ``zpatterns.Publisher.publish``; awaiting it is optional."""
        driver = self._driver
        if driver is None or _running_loop() is not driver.loop:
            driver = self._ready()
        try:
            frame = topic.frame
        except AttributeError:
            raise not_a_topic(topic) from None
        payload, buffers = topic.encode(body)
        if not buffers and driver.join(frame, topic.wire_id, payload):
            return driver.done
        driver = self._ready()
        if len(payload) > self._most or buffers:
            check_size(len(payload) + sum(map(len, buffers)), 2 + len(buffers), self._limits)
        return driver.publish(frame, topic.wire_id, payload, buffers, self._blocks)

    def publish_many(self, topic: Topic[T], bodies: Iterable[T], /) -> Awaitable[None]:
        """As ``zpatterns.Publisher.publish_many``; awaiting it is optional."""
        driver = self._ready()
        try:
            frame, wire_id = topic.frame, topic.wire_id
        except AttributeError:
            raise not_a_topic(topic) from None
        found = list(bodies)
        lists = None if self._blocks else encoded_lists(topic, found, self._limits)
        if lists is not None:
            return driver.publish_lists(frame, wire_id, lists)
        return driver.publish_many(frame, wire_id, encoded_each(topic, found, self._limits), self._blocks)

    def publish_plain(self, frames: bytes | Sequence[bytes], /) -> Awaitable[None]:
        """As ``zpatterns.Publisher.publish_plain``; awaiting it is optional."""
        return self._ready().publish_plain(plain_frames(frames, self._limits), self._blocks)

    async def wait_for_subscribers(
        self, topic: Topic[Any] | bytes, /, count: int = 1, timeout: float = DEFAULT_TIMEOUT
    ) -> int:
        """As ``zpatterns.Publisher.wait_for_subscribers``."""
        expects = expecting(topic)
        checked_count("count", count)
        return await self._ready().wait(expects, count, wait_seconds(timeout))

    async def close(self) -> None:
        """As ``zpatterns.Publisher.close``."""
        self._closed = True
        driver = self._driver
        if driver is None or self._fork.forked:
            return
        if self._finalizer is not None:
            self._finalizer.detach()
        if driver.loop.is_closed():
            driver.release()
            return
        check_loop(driver.loop, "publisher")
        await driver.close(self._options.linger)

    async def __aenter__(self) -> Self:
        self._ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    def _ready(self) -> AsyncPublisher:
        """The driver on the running loop; made at the first use."""
        driver = self._driver
        if driver is not None and asyncio._get_running_loop() is driver.loop and not driver.closed:
            if not self._fork.forked:
                return driver
        self._fork.check()
        if self._closed or (driver is not None and driver.closed):
            raise Closed("the publisher is closed; make a new one")
        check_loop(None if driver is None else driver.loop, "publisher")
        machine, pump, port = self._open()
        self._addresses = port.addresses
        driver = self._driver = AsyncPublisher(machine, pump, port, patience=self._patience)
        self._finalizer = watch(self, driver.loop, driver.release, self._fork)
        return driver
