"""The blocking ``Subscriber``: subscriptions proven in place, a bounded queue, every gap counted."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, Unpack, overload

from .._shell.arguments import Types, check_callbacks, check_handler, checked_count, chosen
from .._shell.calls import wait_seconds
from .._shell.delivery import Message, Rest, opened
from .._shell.guards import ForkGuard
from .._shell.opening import connection_listener
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
from .._shell.signals import until_second_signal
from ..contract import Topic
from ..core.heard import Gap, SubscriberStatistics
from ..core.intake import Intake
from ..drive.sockets import Context
from ..drive.subscribing import BlockingSubscriber
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
    """Reads what is published on the topics it asks for, into a bounded queue, and knows exactly what it missed.

    ``topics`` given here make iteration typed. Pass a `Topic`, with or without open placeholders, or the bytes that messages
    of a foreign PUB begin with. It connects to its endpoint, or to several; ``bind=False`` is the usual way, ``bind=True``
    is for publishers that connect. It may start before its publishers.

    Its queue holds ``limits.backlog`` messages for a reader that is busy; then ``overflow`` decides. ``max_age``: messages
    older than so many seconds are dropped when the reader comes to them, counted from the quickest that publisher ever
    sent, so clocks need not agree. ``on_gap(gap)`` hears of each gap as soon as it is known, on a thread of the library's:
    it must not wait. ``on_connection(endpoint, up)`` hears of connections.

    Raises ConfigurationError and its kinds for an endpoint or topic that cannot work.
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
        self._limits = chosen(limits, Limits)
        check_callbacks(on_gap=on_gap, on_connection=on_connection)
        self._fork = ForkGuard("Subscriber")
        self._intake = reading(self._limits, overflow, max_age)
        self._types = Types()
        wanted = [subscription(topic, self._intake, self._types) for topic in topics]
        machine, pump, self._addresses = subscriber_pump(
            checked(endpoint, bind=bind, security=security),
            bind=bind,
            limits=self._limits,
            options=chosen(options, SocketOptions),
            context=context,
        )
        self._handlers = Handlers()
        self._stopping = False
        self._closed = False
        self._driver = BlockingSubscriber(
            machine, pump, gap_listener(on_gap), connection_listener(self._addresses, on_connection)
        )
        self._finalizer = weakref.finalize(self, _abandoned, self._driver, self._fork)
        self._driver.open(self._intake)
        self._main: Messages[T_co] = Messages(self._driver, self._intake, self._fork)
        for each in wanted:
            self._driver.subscribe(each)

    @property
    def endpoint(self) -> str:
        """The real address, port * resolved; of several, the first."""
        return self._addresses[0]

    @property
    def endpoints(self) -> list[str]:
        """All of them."""
        return list(self._addresses)

    @property
    def connected(self) -> dict[str, bool]:
        """Whether each endpoint is connected; where the transport cannot tell, True."""
        return dict(zip(self._addresses, self._driver.machine.up, strict=True))

    @property
    def statistics(self) -> SubscriberStatistics:
        """Counters since it was made."""
        return self._driver.machine.totals()

    @property
    def handler_errors(self) -> int:
        """Exceptions that handlers raised; the log has them."""
        return self._handlers.errors

    def subscribe(self, topic: Topic[Any] | bytes, /) -> None:
        """Ask for one topic more, a pattern, or what messages of a foreign publisher begin with. Returns at once: see ``ready``."""
        self._fork.check()
        self._driver.subscribe(subscription(topic, self._intake, self._types))

    def unsubscribe(self, topic: Topic[Any] | bytes, /) -> None:
        """Ask for it no more; what has come already is still delivered. Nothing happens if it was not asked for."""
        self._fork.check()
        prefix = prefix_of(topic)
        self._types.remove(topic)
        application = topic if isinstance(topic, Topic) else None
        found = self._driver.machine.find(self._intake)
        self._driver.unsubscribe([each for each in found if each.prefix == prefix and each.application == application])

    def ready(self, timeout: float = DEFAULT_TIMEOUT, *, publishers: int = 1) -> dict[str, tuple[str, ...]]:
        """Wait until every subscription made so far is in place: whatever is published from now on comes, or shows as a gap.

        It says by endpoint for which publishers that holds. ``publishers``: how many must have answered at each endpoint,
        behind a forwarder or where publishers connect to us. They answer in a millisecond.

        Raises PeerUnavailable when there is no connection in time, RequestTimeout when there is one and nobody answers: a
        plain PUB cannot, and then nobody can know.
        """
        self._fork.check()
        timeout = wait_seconds(timeout)
        checked_count("publishers", publishers, 1)
        heard = self._driver.ready(publishers, timeout)
        if heard is None:
            raise not_ready(self._driver.machine, self._addresses, publishers, timeout)
        return dict(zip(self._addresses, heard, strict=True))

    def receive(self, timeout: float = DEFAULT_TIMEOUT) -> Message[T_co]:
        """The next message. Raises RequestTimeout when none comes in time, Closed."""
        self._fork.check()
        if self._closed:
            raise Closed("the subscriber is closed; make a new one")
        return self._main.receive(timeout)

    def __iter__(self) -> Iterator[Message[T_co]]:
        """Messages as they come, until the subscriber is closed. Topics that are streamed are not among them."""
        self._fork.check()
        messages: Messages[T_co] = Messages(self._driver, self._intake, self._fork, self, self._main._rest)
        return messages

    def stream(
        self, topic: Topic[T], /, *, overflow: Overflow = Overflow.DROP_OLDEST, max_age: float | None = None
    ) -> Messages[T]:
        """The messages of one topic, typed, with a queue of their own, until it is closed. Plain iteration leaves them out meanwhile."""
        self._fork.check()
        intake = reading(self._limits, overflow, max_age, main=False)
        wanted = subscription(topic, intake)
        self._driver.open(intake)
        self._driver.subscribe(wanted)
        return Messages(self._driver, intake, self._fork, self)

    @overload
    def on(self, topic: Topic[T], /) -> Callable[[Callable[[Message[T]], U]], Callable[[Message[T]], U]]: ...
    @overload
    def on(
        self, topic: bytes, /
    ) -> Callable[[Callable[[Message[list[bytes]]], U]], Callable[[Message[list[bytes]]], U]]: ...
    def on(self, topic: Any, /) -> Any:
        """Subscribe, and have ``run()`` call the function with each message of the topic."""

        def register(handler: Callable[[Message[Any]], Any]) -> Callable[[Message[Any]], Any]:
            check_handler(handler, coroutines=False)
            self.subscribe(topic)
            self._handlers.add(topic, handler)
            return handler

        return register

    def run(self) -> None:
        """Call handlers, one message at a time and in order, until SIGINT, SIGTERM, ``stop()`` or ``close()``.

        The handler at work is finished first; a second signal interrupts it, as Ctrl-C does.
        What a handler raises is logged and counted in ``handler_errors``; the next message comes in any case.
        """
        self._fork.check()
        handlers = self._handlers
        with until_second_signal(self.stop):
            while not self._stopping and not self._driver.closed:
                for message in self._main._some(lambda: self._stopping):
                    for handler in handlers.of(message):
                        try:
                            handler(message)
                        except Exception as error:  # noqa: BLE001  reported there
                            handlers.failed(message, handler, error)
        if self._driver.failed and not self._stopping:
            raise torn()

    def stop(self) -> None:
        """End ``run()``, from any thread, handler or signal handler. Returns at once."""
        self._stopping = True
        self._driver.interrupt(self._intake)

    def close(self) -> None:
        """Close the sockets; iterations end when they have given what is in the queue. Idempotent."""
        self._closed = True
        if not self._fork.forked:
            self._finalizer.detach()
            self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class Messages(Generic[T_co]):
    """Messages one by one, until it is closed: leave its ``with`` block, or ``close()`` it. Threads may share it."""

    def __init__(
        self,
        driver: BlockingSubscriber,
        intake: Intake,
        fork: ForkGuard,
        subscriber: Subscriber[Any] | None = None,
        rest: Rest | None = None,
    ) -> None:
        self._driver = driver
        self._intake = intake
        self._fork = fork
        self._subscriber = subscriber
        """Lives while somebody reads: in ``for message in Subscriber(...)`` nobody else holds it."""
        self._rest = Rest() if rest is None else rest
        self._closed = False

    def __iter__(self) -> Iterator[Message[T_co]]:
        return self

    def __next__(self) -> Message[T_co]:
        for message in self._rest.messages:
            return message
        found = self._next(None)
        if found is None:
            if self._driver.failed and not self._closed:
                raise torn()
            raise StopIteration
        return found

    def receive(self, timeout: float = DEFAULT_TIMEOUT) -> Message[T_co]:
        """The next message. Raises RequestTimeout when none comes in time, Closed."""
        for message in self._rest.messages:
            return message
        timeout = wait_seconds(timeout)
        found = self._next(timeout)
        if found is None:
            if self._closed or self._driver.closed:
                raise Closed("the subscriber is closed; make a new one")
            raise RequestTimeout(f"no message within {timeout} s", sent=False)
        return found

    def _next(self, timeout: float | None) -> Message[Any] | None:
        for message in self._rest.messages:
            return message
        self._fork.check()
        self._driver.check_wait()
        since = monotonic()
        if not self._rest.refilling.acquire(timeout=-1 if timeout is None else timeout):
            return None
        try:
            for message in self._rest.messages:  # another thread was quicker
                return message
            if self._closed:
                return None
            left = None if timeout is None else since + timeout - monotonic()
            taken = self._driver.take(self._intake, left)
            if taken is None:
                return None
            messages = opened(*taken)
            first = next(messages)  # before another thread can take it
            self._rest.messages = messages
            return first
        finally:
            self._rest.refilling.release()

    def _some(self, enough: Callable[[], bool]) -> Iterator[Message[T_co]]:
        """What is there, once there is something, until it is enough; nothing when the wait was interrupted."""
        for message in self._rest.messages:
            yield message
            if enough():
                return
        with self._rest.refilling:
            taken = self._driver.take_once(self._intake, enough)
            if taken is not None:
                self._rest.messages = opened(*taken)

    def close(self) -> None:
        """No more of it; a thread that waits for the next one ends. Idempotent."""
        if not self._closed:
            self._closed = True
            if not self._fork.forked:
                self._driver.leave(self._intake)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _abandoned(driver: BlockingSubscriber, fork: ForkGuard) -> None:
    """It was dropped without close(): its thread must not turn for ever."""
    if not fork.forked:
        driver.abandon()
