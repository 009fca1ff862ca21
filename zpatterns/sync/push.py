"""The blocking ``Push`` and ``Pull``: work handed out and results collected by libzmq alone, with peers in any language."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from .._shell.flowing import LONGEST, Settings, checked_wait, closed, nobody, nothing, within
from .._shell.guards import ForkGuard, check_made
from ..core.flow import LISTED, Inflow, Outflow, PushPullStatistics
from ..core.machine import Frame, Frames
from ..drive.flows import PULL, PUSH
from ..drive.sockets import Context
from ..endpoint import Insecure
from ..errors import Closed, DecodeError
from ..policy import DEFAULT_TIMEOUT, Limits, SocketOptions
from ..wire.jobs import ALONE, CHUNK_BYTES, ITEMS_MAX

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")
Item = TypeVar("Item")
_LOOK = 0.1
"""Seconds after which a thread that waits looks whether it was closed meanwhile, and lets the others look."""


class Push(Generic[T]):
    """Hands out items to the Pulls (or PULL sockets, in any language) at the other end, in turn, each to one of them.

    ``Push.bind(endpoint, bytes)``: each item is one bare frame, for any peer. With another type they are typed, and up to
    ``batch`` of those that are sent together share a message: for a Pull of the same type.

    **Nothing is acknowledged.** Items that a peer has in its queues are lost with it: up to ``high_water_mark`` messages
    at each end of each connection, and that many items times ``batch``. With ``batch=1`` and a small mark (the classic
    ventilator has 110) they are also spread most evenly. For work that must not get lost there is ``Pipeline``.

    Any thread may use it. ``security=Insecure()`` allows plaintext TCP beyond loopback. Guide: ch. 1, 29/PUSHPULL.
    """

    def __init__(self, settings: Settings, /) -> None:
        check_made(settings, Settings, "Push.bind(endpoint, type) or Push.connect(endpoint, type)")
        self._settings = settings
        self._fork = ForkGuard("Push")
        self._machine = Outflow(settings.batch)
        self._pipe = settings.open(PUSH)
        self._lock = threading.RLock()  # a signal handler may close it in the midst of a send
        self._busy = False
        self._closed = False

    @classmethod
    def bind(
        cls,
        endpoint: str,
        item: TypeForm[Item],
        /,
        *,
        high_water_mark: int | None = None,
        batch: int = 64,
        timeout: float = DEFAULT_TIMEOUT,
        limits: Limits | None = None,
        options: SocketOptions | None = None,
        security: Insecure | None = None,
        context: Context | None = None,
    ) -> Push[Item]:
        """The end that is always there: Pulls connect to it. Items wait while nobody is connected, and are lost with a peer."""
        return Push[Item](
            Settings(
                endpoint,
                item,
                bind=True,
                high_water_mark=high_water_mark,
                batch=batch,
                timeout=timeout,
                limits=limits,
                options=options,
                security=security,
                context=context,
            )
        )

    @classmethod
    def connect(
        cls,
        endpoint: str,
        item: TypeForm[Item],
        /,
        *,
        high_water_mark: int | None = None,
        batch: int = 64,
        timeout: float = DEFAULT_TIMEOUT,
        limits: Limits | None = None,
        options: SocketOptions | None = None,
        security: Insecure | None = None,
        context: Context | None = None,
    ) -> Push[Item]:
        """The end that comes and goes: a worker that pushes to a sink. What it sends before the sink is there is kept."""
        return Push[Item](
            Settings(
                endpoint,
                item,
                bind=False,
                high_water_mark=high_water_mark,
                batch=batch,
                timeout=timeout,
                limits=limits,
                options=options,
                security=security,
                context=context,
            )
        )

    def send(self, item: T, /, *, timeout: float | None = None) -> None:
        """Give an item to some peer; waits while there is none, or all are full, at most ``timeout`` seconds.

        Raises Overloaded then (the item was not sent), Closed, TypeError, MessageTooLarge.
        """
        self.send_many((item,), timeout=timeout)

    def send_many(self, items: Iterable[T], /, *, timeout: float | None = None) -> None:
        """Give many: typed ones share messages. ``timeout`` bounds the wait for each message.

        When it raises Overloaded, those before the ones it names were sent.
        """
        self._fork.check()
        settings = self._settings
        seconds = settings.timeout if timeout is None else timeout
        if not 0.0 <= seconds <= LONGEST:
            seconds = checked_wait(seconds)
        encode = settings.codec.encode
        full, bare = min(settings.batch, ITEMS_MAX), settings.bare
        small: list[bytes] = []
        size = 0
        try:
            for item in items:  # without the lock: they may be long in coming, or send something themselves
                payload, buffers = encode(item)
                if not bare and not buffers and len(payload) <= ALONE:
                    small.append(payload)
                    size += len(payload)
                    if len(small) < full and size < CHUNK_BYTES:
                        continue
                    whole, small, size = small, [], 0
                    self._give(whole, None, seconds)
                else:
                    settings.check_size(payload, buffers)
                    whole, small, size = small, [], 0
                    self._give(whole, (payload, buffers), seconds)
        except Exception:
            if small:
                self._give(small, None, seconds)
            raise
        self._give(small, None, seconds)

    def _give(self, small: list[bytes], large: tuple[Frame, Frames] | None, seconds: float) -> None:
        """Send what fits into one message, and one that travels alone."""
        lock, machine, settings = self._lock, self._machine, self._settings
        until = 0.0
        if not lock.acquire(False):
            until = monotonic() + seconds
            if not lock.acquire(timeout=seconds):
                raise nobody(len(small) + (large is not None), seconds)
        if self._busy:
            lock.release()
            raise within("send")
        try:
            self._busy = True
            if self._closed:
                raise closed("Push")
            if small:
                machine.put_many(settings.codec.wire_id, small)
            if large is not None and settings.bare:
                machine.put_bare((large[1][0] if large[1] else large[0],))
            elif large is not None:
                machine.put(settings.codec.wire_id, *large)
            self._flush(until, seconds)
        except BaseException:
            machine.outbox.clear()  # its caller is told; it must not go out with somebody else's
            raise
        finally:
            self._busy = False
            if self._closed:
                self._pipe.close()
            lock.release()

    def _flush(self, until: float, seconds: float) -> None:
        machine, pipe = self._machine, self._pipe
        machine.flush(0.0)
        outbox = machine.outbox
        while outbox:
            if pipe.send(outbox[0][1]) is None:
                outbox.popleft()
                until = 0.0
                continue
            now = monotonic()
            until = until or now + seconds
            if self._closed:
                raise closed("Push")
            if not pipe.wait(pipe.writable, min(until, now + _LOOK)) and monotonic() >= until:
                raise nobody(sum(entry[2][0] for entry in outbox), seconds)

    @property
    def endpoint(self) -> str:
        """The real address, port * resolved."""
        return self._pipe.address

    @property
    def statistics(self) -> PushPullStatistics:
        """Counters since it was made."""
        return self._machine.statistics

    def close(self) -> None:
        """Close the socket; what was sent gets ``linger`` seconds more, in the background. Idempotent.

        In a signal handler, too: a ``send`` that was interrupted then closes it, and raises Closed.
        """
        if self._fork.forked:
            return
        if not self._closed:
            self._closed = True  # whoever waits with the lock sees it
            with self._lock:
                if not self._busy:
                    self._pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class Pull(Generic[T]):
    """Takes items from the Pushes (or PUSH sockets) at the other end, fairly from each: ``for item in pull``.

    ``Pull.connect(endpoint, bytes)`` takes bare messages of one frame; with another type, those of a Push of that type. A
    Pull that does not read holds its Pushes back, after ``high_water_mark`` messages at each end. Any thread may use it:
    each item goes to one of them.
    """

    def __init__(self, settings: Settings, /) -> None:
        check_made(settings, Settings, "Pull.bind(endpoint, type) or Pull.connect(endpoint, type)")
        self._settings = settings
        self._fork = ForkGuard("Pull")
        self._machine = Inflow(bare=settings.bare)
        self._pipe = settings.open(PULL)
        self._lock = threading.RLock()  # a signal handler may close it in the midst of a receive
        self._busy = False
        self._closed = False
        self._decode = settings.codec.decode
        self._bare: Any = bytes
        self._codec = 0
        self._payloads: list[Any] = []
        self._buffers: Frames = ()

    @classmethod
    def bind(
        cls,
        endpoint: str,
        item: TypeForm[Item],
        /,
        *,
        high_water_mark: int | None = None,
        limits: Limits | None = None,
        options: SocketOptions | None = None,
        security: Insecure | None = None,
        context: Context | None = None,
    ) -> Pull[Item]:
        """The end that is always there: a sink."""
        return Pull[Item](
            Settings(
                endpoint,
                item,
                bind=True,
                high_water_mark=high_water_mark,
                limits=limits,
                options=options,
                security=security,
                context=context,
            )
        )

    @classmethod
    def connect(
        cls,
        endpoint: str,
        item: TypeForm[Item],
        /,
        *,
        high_water_mark: int | None = None,
        limits: Limits | None = None,
        options: SocketOptions | None = None,
        security: Insecure | None = None,
        context: Context | None = None,
    ) -> Pull[Item]:
        """The end that comes and goes: a worker."""
        return Pull[Item](
            Settings(
                endpoint,
                item,
                bind=False,
                high_water_mark=high_water_mark,
                limits=limits,
                options=options,
                security=security,
                context=context,
            )
        )

    def receive(self, *, timeout: float | None = None) -> T:
        """The next item; without ``timeout`` it waits until there is one, or until it is closed.

        Raises RequestTimeout, Closed, and DecodeError for a message that is not of the type: what follows can still be read.
        """
        if timeout is not None and not 0.0 <= timeout <= LONGEST:
            timeout = checked_wait(timeout)
        until = None if timeout is None else monotonic() + timeout
        self._fork.check()
        lock = self._lock
        while True:
            if lock.acquire(False) or lock.acquire(timeout=-1 if until is None else max(0.0, until - monotonic())):
                if self._busy:
                    lock.release()
                    raise within("receive")
                try:
                    self._busy = True
                    if self._payloads or self._fill():
                        payload = self._payloads.pop()
                        if self._codec < 0:
                            bare: T = payload if self._codec == LISTED else self._bare(payload)
                            return bare
                        item: T = self._decode(self._codec, payload, self._buffers)
                        return item
                    look = monotonic() + _LOOK
                    self._pipe.wait(self._pipe.readable, look if until is None else min(until, look))
                finally:
                    self._busy = False
                    if self._closed:
                        self._shut()
                    lock.release()
            if until is not None and monotonic() >= until:
                raise nothing(timeout or 0.0)

    def _fill(self) -> bool:
        """Read one message, if one is there."""
        if self._closed:
            raise closed("Pull")
        frames = self._pipe.receive()
        if frames is None:
            return False
        self._machine.receive(0, frames, 0.0)
        chunk = self._machine.chunks.popleft()
        if isinstance(chunk, DecodeError):
            raise chunk
        self._codec, self._payloads, self._buffers = self._settings.unpacked(chunk)
        return True

    def __iter__(self) -> Iterator[T]:
        try:
            while True:
                yield self.receive()
        except Closed:
            if not self._closed:  # its context was terminated
                raise

    @property
    def endpoint(self) -> str:
        """The real address, port * resolved."""
        return self._pipe.address

    @property
    def statistics(self) -> PushPullStatistics:
        """Counters since it was made."""
        return self._machine.statistics

    def close(self) -> None:
        """Close the socket; what has come in and was not taken is lost. Ends ``for item in pull``. Idempotent.

        In a signal handler, too: a ``receive`` that was interrupted then closes it, and raises Closed.
        """
        if self._fork.forked:
            return
        if not self._closed:
            self._closed = True  # whoever waits with the lock sees it
            with self._lock:
                if not self._busy:
                    self._shut()

    def _shut(self) -> None:
        self._payloads = []
        self._pipe.close(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
