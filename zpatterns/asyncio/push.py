"""The asyncio ``Push`` and ``Pull``: as in ``zpatterns``, awaited; what is sent in one tick of the loop shares messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar
from weakref import finalize

from .._shell.aflowing import portions
from .._shell.amapping import Lasting
from .._shell.dropped import watch
from .._shell.flowing import LONGEST, Settings, checked_wait, closed, gone, nothing
from .._shell.guards import ForkGuard, check_made
from .._shell.loops import check_loop
from ..core.flow import LISTED, PushPullStatistics
from ..core.machine import Frames
from ..drive.aflows import AsyncInflow, AsyncOutflow
from ..drive.sockets import Context
from ..endpoint import Insecure
from ..errors import Closed, DecodeError, Overloaded
from ..policy import DEFAULT_TIMEOUT, Limits, SocketOptions
from ..wire.jobs import ALONE, ITEMS_MAX

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")
_running_loop = asyncio._get_running_loop  # of another process it knows nothing, so a forked child goes the long way
Item = TypeVar("Item")


class Push(Generic[T]):
    """``zpatterns.Push`` for asyncio: same arguments, same rules.

    It is opened by its first use on a loop, or by ``async with``, and belongs to that loop. Up to ``limits.queue`` items
    wait here until libzmq takes them; ``send`` waits when there are more, and ``close`` until they are taken.
    """

    def __init__(self, settings: Settings, /) -> None:
        check_made(settings, Settings, "Push.bind(endpoint, type) or Push.connect(endpoint, type)")
        self._settings = settings
        self._fork = ForkGuard("Push")
        self._flow: AsyncOutflow | None = None  # while it is open
        self._last: AsyncOutflow | None = None
        self._finalizer: finalize[..., Any] | None = None
        self._closed = False
        self._most = settings.limits.queue
        self._encode = settings.codec.encode
        self._codec = settings.codec.wire_id
        self._full = min(settings.batch, ITEMS_MAX)
        self._small = -1 if settings.bare or settings.batch == 1 else ALONE

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
        """As ``zpatterns.Push.bind``."""
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
        """As ``zpatterns.Push.connect``."""
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

    async def send(self, item: T, /, *, timeout: float | None = None) -> None:
        """As ``zpatterns.Push.send``."""
        if timeout is not None and not 0.0 <= timeout <= LONGEST:
            timeout = checked_wait(timeout)
        flow = self._flow
        if flow is None or _running_loop() is not flow.home:
            flow = self._ready()
        payload, buffers = self._encode(item)
        if flow.machine.waiting >= self._most:
            await self._room(flow, timeout)
        if not buffers and len(payload) <= self._small:
            flow.put_small(self._codec, payload)
            return
        self._settings.check_size(payload, buffers)
        if self._settings.bare:
            flow.put_bare((buffers[0] if buffers else payload,))
        else:
            flow.put(self._codec, payload, buffers)

    async def send_many(self, items: Iterable[T], /, *, timeout: float | None = None) -> None:
        """As ``zpatterns.Push.send_many``."""
        if timeout is not None and not 0.0 <= timeout <= LONGEST:
            timeout = checked_wait(timeout)
        flow = self._ready()
        machine, most = flow.machine, self._most
        for put, what in portions(self._settings, flow, items):
            if machine.waiting >= most:
                await self._room(flow, timeout)
            put(*what)

    async def _room(self, flow: AsyncOutflow, timeout: float | None) -> None:
        seconds = self._settings.timeout if timeout is None else timeout
        flow.flush()
        if flow.machine.waiting >= self._most and not await flow.wait_below(self._most, seconds):
            if not flow.closed:
                raise Overloaded(
                    f"{flow.machine.waiting} items wait, and nobody took one for {seconds:g} s; this one was not sent. "
                    "Is a Pull connected, and does it read?"
                )
        if flow.closed:
            raise closed("Push") if self._closed else gone("Push")

    def _ready(self) -> AsyncOutflow:
        """The socket on the running loop; opened at the first use."""
        self._fork.check()
        if self._closed:
            raise closed("Push")
        flow = self._flow
        check_loop(None if flow is None else flow.loop, "Push")
        if flow is None:
            flow = AsyncOutflow(self._settings.batch, self._settings.open, self._settings.limits)
            self._flow = self._last = flow
            self._finalizer = watch(self, flow.loop, flow.close, self._fork)
        if flow.closed:
            raise gone("Push")
        return flow

    @property
    def endpoint(self) -> str:
        """The real address once it is open, port * resolved."""
        return self._last.address if self._last is not None else self._settings.text

    @property
    def statistics(self) -> PushPullStatistics:
        """Counters since it was opened."""
        return self._last.machine.statistics if self._last is not None else PushPullStatistics()

    async def close(self) -> None:
        """Wait until libzmq has taken what waits, at most ``linger`` seconds, and close. Idempotent."""
        flow = self._flow
        if flow is not None and not self._fork.forked:
            if not flow.loop.is_closed():
                check_loop(flow.loop, "Push")
            self._flow, self._closed = None, True
            try:
                if not flow.loop.is_closed():
                    flow.flush()
                    if flow.machine.waiting:
                        await flow.wait_below(1, self._settings.options.linger)
            finally:
                flow.close()
                if self._finalizer is not None:
                    self._finalizer.detach()
        self._closed = True

    async def __aenter__(self) -> Self:
        self._ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()


class Pull(Generic[T]):
    """``zpatterns.Pull`` for asyncio: ``async for item in pull``. At most ``limits.queue`` messages wait here."""

    def __init__(self, settings: Settings, /) -> None:
        check_made(settings, Settings, "Pull.bind(endpoint, type) or Pull.connect(endpoint, type)")
        self._settings = settings
        self._fork = ForkGuard("Pull")
        self._flow: AsyncInflow | None = None  # while it is open
        self._last: AsyncInflow | None = None
        self._finalizer: finalize[..., Any] | None = None
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
        """As ``zpatterns.Pull.bind``."""
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
        """As ``zpatterns.Pull.connect``."""
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

    async def receive(self, *, timeout: float | None = None) -> T:
        """As ``zpatterns.Pull.receive``."""
        if timeout is not None and not 0.0 <= timeout <= LONGEST:
            timeout = checked_wait(timeout)
        if not self._payloads or self._fork.forked:
            await self._fill(timeout)
        payload = self._payloads.pop()
        if self._codec < 0:
            bare: T = payload if self._codec == LISTED else self._bare(payload)
            return bare
        item: T = self._decode(self._codec, payload, self._buffers)
        return item

    async def _fill(self, timeout: float | None) -> None:
        """Wait for a message. A cancel loses nothing: what has come stays in its queue."""
        flow = self._flow
        if flow is None or _running_loop() is not flow.home:
            flow = self._ready()
        while not self._payloads:  # several tasks may wait here
            chunk = flow.take()
            if chunk is None:
                if not await flow.wait(timeout):
                    if flow.closed:
                        raise closed("Pull") if self._closed else gone("Pull")
                    raise nothing(timeout or 0.0)
            elif isinstance(chunk, DecodeError):
                raise chunk
            else:
                self._codec, self._payloads, self._buffers = self._settings.unpacked(chunk)

    def __aiter__(self) -> AsyncIterator[T]:
        return Lasting(self._items)

    async def _items(self) -> AsyncGenerator[T, None]:
        decode = self._decode
        try:
            while True:
                if not self._payloads:
                    await self._fill(None)
                payloads = self._payloads  # of one message: whoever else reads takes from the same list
                pop = payloads.pop
                if self._codec == LISTED:
                    while payloads:
                        yield pop()
                elif self._codec < 0:
                    yield self._bare(pop())
                else:
                    yield decode(self._codec, pop(), self._buffers)
        except Closed:
            if not self._closed:  # its context was terminated
                raise

    def _ready(self) -> AsyncInflow:
        """The socket on the running loop; opened at the first use."""
        self._fork.check()
        if self._closed:
            raise closed("Pull")
        flow = self._flow
        check_loop(None if flow is None else flow.loop, "Pull")
        if flow is None:
            flow = AsyncInflow(self._settings.open, self._settings.limits, bare=self._settings.bare)
            self._flow = self._last = flow
            self._finalizer = watch(self, flow.loop, flow.close, self._fork)
        if flow.closed:
            raise gone("Pull")
        return flow

    @property
    def endpoint(self) -> str:
        """The real address once it is open, port * resolved."""
        return self._last.address if self._last is not None else self._settings.text

    @property
    def statistics(self) -> PushPullStatistics:
        """Counters since it was opened."""
        return self._last.machine.statistics if self._last is not None else PushPullStatistics()

    async def close(self) -> None:
        """As ``zpatterns.Pull.close``."""
        flow = self._flow
        if flow is not None and not self._fork.forked and not flow.loop.is_closed():
            check_loop(flow.loop, "Pull")
        self._flow, self._closed = None, True
        self._payloads.clear()
        if flow is not None and not self._fork.forked:
            flow.close()
            if self._finalizer is not None:
                self._finalizer.detach()

    async def __aenter__(self) -> Self:
        self._ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()
