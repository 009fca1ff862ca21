"""The asyncio ``Subscriber``: as its blocking twin, on an event loop."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import nullcontext
from inspect import isawaitable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, Unpack, overload

from .._shell.arguments import Types, check_callbacks, check_handler, checked_count, chosen
from .._shell.calls import wait_seconds
from .._shell.delivery import Message, Rest, opened
from .._shell.dropped import watch
from .._shell.guards import ForkGuard
from .._shell.loops import check_loop, until_second_loop_signal
from .._shell.opening import connection_listener, spelled
from .._shell.pubsub import (
    Handlers,
    SubscriberOptions,
    checked,
    gap_listener,
    not_ready,
    prefix_of,
    reading,
    subscriber_pump,
    subscription,
    torn,
)
from ..contract import Topic
from ..core.heard import Gap, SubscriberStatistics
from ..core.intake import Intake
from ..core.subscriber import Subscriber as SubscriberMachine
from ..drive.asubscribing import AsyncSubscriber
from ..drive.bulk import SubscriberPump
from ..drive.sockets import Context
from ..endpoint import Insecure
from ..errors import Closed, RequestTimeout
from ..policy import DEFAULT_TIMEOUT, Limits, Overflow, SocketOptions

T = TypeVar("T")
U = TypeVar("U")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
T_co = TypeVar("T_co", covariant=True)


class Subscriber(Generic[T_co]):
    """``zpatterns.Subscriber`` for asyncio: same arguments and rules; ``async for`` its messages.

    Handlers are ``def`` or ``async def``; each is awaited before the next message. It belongs to the loop it is first used on;
    before that nothing is connected.
    """

    @overload
    def __init__(
        self: Subscriber[A], endpoint: str | Sequence[str], t1: Topic[A], /, **options: Unpack[SubscriberOptions]
    ) -> None: ...
    @overload
    def __init__(
        self: Subscriber[A | B],
        endpoint: str | Sequence[str],
        t1: Topic[A],
        t2: Topic[B],
        /,
        **options: Unpack[SubscriberOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: Subscriber[A | B | C],
        endpoint: str | Sequence[str],
        t1: Topic[A],
        t2: Topic[B],
        t3: Topic[C],
        /,
        **options: Unpack[SubscriberOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: Subscriber[list[bytes]],
        endpoint: str | Sequence[str],
        p1: bytes,
        /,
        *prefixes: bytes,
        **options: Unpack[SubscriberOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: Subscriber[Any],
        endpoint: str | Sequence[str],
        /,
        *topics: Topic[Any] | bytes,
        **options: Unpack[SubscriberOptions],
    ) -> None: ...
    def __init__(
        self,
        endpoint: str | Sequence[str],
        /,
        *topics: Topic[Any] | bytes,
        bind: bool = False,
        overflow: Overflow = Overflow.DROP_OLDEST,
        max_age: float | None = None,
        on_gap: Callable[[Gap], None] | None = None,
        on_connection: Callable[[str, bool], None] | None = None,
        limits: Limits | None = None,
        options: SocketOptions | None = None,
        security: Insecure | None = None,
        context: Context | None = None,
    ) -> None:
        self._limits = bounds = chosen(limits, Limits)
        settings = chosen(options, SocketOptions)
        check_callbacks(on_gap=on_gap, on_connection=on_connection)
        self._fork = ForkGuard("Subscriber")
        self._intake = reading(self._limits, overflow, max_age)
        self._types = Types()
        self._wanted = [subscription(topic, self._intake, self._types) for topic in topics]
        self._addresses = spelled(endpoint)
        endpoints = checked(endpoint, bind=bind, security=security)
        self._open: Callable[[], tuple[SubscriberMachine, SubscriberPump, list[str]]] = lambda: subscriber_pump(
            endpoints, bind=bind, limits=bounds, options=settings, context=context
        )  # without self: a cycle would wait for the collector
        self._on_gap = gap_listener(on_gap)
        self._on_connection = on_connection
        self._handlers = Handlers()
        self._stopping = False
        self._closed = False
        self._driver: AsyncSubscriber | None = None
        self._main: Messages[T_co] | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None

    @property
    def endpoint(self) -> str:
        """The real address once it is open, port * resolved; of several, the first."""
        return self._addresses[0]

    @property
    def endpoints(self) -> list[str]:
        """All of them."""
        return list(self._addresses)

    @property
    def connected(self) -> dict[str, bool]:
        """Whether each endpoint is connected; where the transport cannot tell, True."""
        up = self._driver.machine.up if self._driver is not None else [False] * len(self._addresses)
        return dict(zip(self._addresses, up, strict=True))

    @property
    def statistics(self) -> SubscriberStatistics:
        """Counters since it was opened."""
        return self._driver.machine.totals() if self._driver is not None else SubscriberStatistics()

    @property
    def handler_errors(self) -> int:
        """Exceptions that handlers raised; the log has them."""
        return self._handlers.errors

    def subscribe(self, topic: Topic[Any] | bytes, /) -> None:
        """As ``zpatterns.Subscriber.subscribe``. Before the subscriber is open, it is remembered."""
        self._fork.check()
        wanted = subscription(topic, self._intake, self._types)
        if self._driver is None:
            self._wanted.append(wanted)
        else:
            self._ready().subscribe(wanted)

    def unsubscribe(self, topic: Topic[Any] | bytes, /) -> None:
        """As ``zpatterns.Subscriber.unsubscribe``."""
        self._fork.check()
        prefix = prefix_of(topic)
        self._types.remove(topic)
        application = topic if isinstance(topic, Topic) else None
        found = self._wanted if self._driver is None else self._driver.machine.find(self._intake)
        given_up = [each for each in found if each.prefix == prefix and each.application == application]
        if self._driver is None:
            self._wanted = [each for each in found if each not in given_up]
        else:
            self._ready().unsubscribe(given_up)

    async def ready(self, timeout: float = DEFAULT_TIMEOUT, *, publishers: int = 1) -> dict[str, tuple[str, ...]]:
        """As ``zpatterns.Subscriber.ready``."""
        driver, timeout = self._ready(), wait_seconds(timeout)
        checked_count("publishers", publishers, 1)
        heard = await driver.ready(publishers, timeout)
        if heard is None:
            raise not_ready(driver.machine, self._addresses, publishers, timeout)
        return dict(zip(self._addresses, heard, strict=True))

    async def receive(self, timeout: float = DEFAULT_TIMEOUT) -> Message[T_co]:
        """As ``zpatterns.Subscriber.receive``."""
        return await self._reader().receive(timeout)

    def __aiter__(self) -> AsyncIterator[Message[T_co]]:
        """As ``zpatterns.Subscriber.__iter__``."""
        messages: Messages[T_co] = Messages(self._ready(), self._intake, self._fork, self, self._reader()._rest)
        return messages

    def stream(
        self, topic: Topic[T], /, *, overflow: Overflow = Overflow.DROP_OLDEST, max_age: float | None = None
    ) -> Messages[T]:
        """As ``zpatterns.Subscriber.stream``, with ``async with`` and ``async for``."""
        driver = self._ready()
        intake = reading(self._limits, overflow, max_age, main=False)
        wanted = subscription(topic, intake)
        driver.open(intake)
        driver.subscribe(wanted)
        return Messages(driver, intake, self._fork, self)

    @overload
    def on(self, topic: Topic[T], /) -> Callable[[Callable[[Message[T]], U]], Callable[[Message[T]], U]]: ...
    @overload
    def on(
        self, topic: bytes, /
    ) -> Callable[[Callable[[Message[list[bytes]]], U]], Callable[[Message[list[bytes]]], U]]: ...
    def on(self, topic: Any, /) -> Any:
        """As ``zpatterns.Subscriber.on``; the function is ``def`` or ``async def``."""

        def register(handler: Callable[[Message[Any]], Any]) -> Callable[[Message[Any]], Any]:
            check_handler(handler, coroutines=True)
            self.subscribe(topic)
            self._handlers.add(topic, handler)
            return handler

        return register

    def run(self) -> None:
        """Call handlers on a loop of its own until SIGINT or SIGTERM; see ``zpatterns.Subscriber.run``."""
        asyncio.run(self.serve(signals=True))

    async def serve(self, *, signals: bool = False) -> None:
        """Call handlers until ``stop()``, ``close()`` or a cancel; ``signals=True`` stops on SIGINT and SIGTERM too.

        The handler at work is finished first; a second signal cancels it.
        """
        main = self._reader()
        handlers = self._handlers
        with until_second_loop_signal(self.stop) if signals else nullcontext():
            try:
                while not self._stopping and (message := await main._next_or_none()) is not None:
                    for handler in handlers.of(message):
                        try:
                            result = handler(message)
                            if isawaitable(result):
                                await result
                        except Exception as error:  # noqa: BLE001  reported there
                            handlers.failed(message, handler, error)
            finally:
                if signals:
                    await self.close()
        if main._driver.failed and not self._stopping:
            raise torn()

    def stop(self) -> None:
        """End ``run()`` or ``serve()``, on the loop. Returns at once."""
        self._stopping = True
        if self._main is not None:
            self._main._interrupt()

    async def close(self) -> None:
        """As ``zpatterns.Subscriber.close``."""
        self._closed = True
        driver = self._driver
        if driver is None or self._fork.forked:
            return
        if self._finalizer is not None:
            self._finalizer.detach()
        if not driver.loop.is_closed():
            check_loop(driver.loop, "subscriber")
        driver.close()

    async def __aenter__(self) -> Self:
        self._ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    def _reader(self) -> Messages[T_co]:
        self._ready()
        assert self._main is not None
        return self._main

    def _ready(self) -> AsyncSubscriber:
        """The driver on the running loop; made at the first use."""
        driver = self._driver
        if driver is not None and asyncio._get_running_loop() is driver.loop and not driver.closed:
            if not self._fork.forked:
                return driver
        self._fork.check()
        if self._closed or (driver is not None and driver.closed):
            raise Closed("the subscriber is closed; make a new one")
        check_loop(None if driver is None else driver.loop, "subscriber")
        machine, pump, self._addresses = self._open()
        listener = connection_listener(self._addresses, self._on_connection)
        driver = self._driver = AsyncSubscriber(machine, pump, self._on_gap, listener)
        self._finalizer = watch(self, driver.loop, driver.close, self._fork)
        driver.open(self._intake)
        self._main = Messages(driver, self._intake, self._fork)
        for each in self._wanted:
            driver.subscribe(each)
        self._wanted.clear()
        return driver


class Messages(Generic[T_co]):
    """Messages one by one, until it is closed: leave its ``async with`` block, or ``close()`` it. One task reads it."""

    def __init__(
        self,
        driver: AsyncSubscriber,
        intake: Intake,
        fork: ForkGuard,
        subscriber: Subscriber[Any] | None = None,
        rest: Rest | None = None,
    ) -> None:
        self._driver = driver
        self._intake = intake
        self._fork = fork
        self._subscriber = subscriber
        """Lives while somebody reads: in ``async for message in Subscriber(...)`` nobody else holds it."""
        self._rest = Rest() if rest is None else rest
        self._closed = False
        self._interrupted = False

    def __aiter__(self) -> AsyncIterator[Message[T_co]]:
        return self

    async def __anext__(self) -> Message[T_co]:
        for message in self._rest.messages:
            return message
        found = await self._next()
        if found is None:
            if self._driver.failed and not self._closed:
                raise torn()
            raise StopAsyncIteration
        return found

    async def receive(self, timeout: float = DEFAULT_TIMEOUT) -> Message[T_co]:
        """As ``zpatterns.Messages.receive``."""
        for message in self._rest.messages:
            return message
        self._fork.check()
        timeout = wait_seconds(timeout)
        try:
            async with asyncio.timeout(timeout):
                found = await self._next()
        except TimeoutError:
            raise RequestTimeout(f"no message within {timeout} s", sent=False) from None
        if found is None:
            raise Closed("the subscriber is closed; make a new one")
        return found

    async def _next_or_none(self) -> Message[T_co] | None:
        """The next message, or None when the wait was interrupted or nothing comes any more."""
        for message in self._rest.messages:
            return message
        self._interrupted = False
        return await self._next()

    async def _next(self) -> Message[Any] | None:
        """The next message, once what came together before it is used up."""
        self._fork.check()
        driver, intake = self._driver, self._intake
        while not self._closed:
            taken = driver.take(intake)
            if taken is not None:
                self._rest.messages = opened(*taken)
                return next(self._rest.messages)
            if driver.closed or self._interrupted:
                break
            await driver.wait(intake)
        return None

    def _interrupt(self) -> None:
        """Have ``_next_or_none`` return."""
        self._interrupted = True
        self._driver.interrupt(self._intake)

    async def close(self) -> None:
        """No more of it; a task that waits for the next one ends. Idempotent."""
        if not self._closed:
            self._closed = True
            if not self._fork.forked:
                self._driver.leave(self._intake)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()
