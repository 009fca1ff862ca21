"""The asyncio ``RequestClient``: the same requests as ``zpatterns.RequestClient``, awaited."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, overload

from .._shell.arguments import check_callbacks, chosen
from .._shell.calls import Maker, finish
from .._shell.dropped import watch
from .._shell.guards import ForkGuard
from .._shell.loops import check_loop
from .._shell.opening import check_endpoints, connection_listener, requester_pump
from ..codec import Codec
from ..contract import Method, StreamMethod
from ..core.calls import Call, Part, RequestClientStatistics
from ..core.requester import Requester
from ..drive.arequesting import AsyncRequester
from ..drive.pump import PortSocket, Pump
from ..drive.sockets import Context
from ..endpoint import Insecure
from ..errors import Closed, ConfigurationError, ZPatternsError
from ..policy import DEFAULT_TIMEOUT, Heartbeat, Limits, Retry, SocketOptions

if TYPE_CHECKING:
    from typing_extensions import TypeForm

Req = TypeVar("Req")
Rep = TypeVar("Rep")
T_co = TypeVar("T_co", covariant=True)


class RequestClient:
    """``zpatterns.RequestClient`` for asyncio: same arguments, same rules, same errors.

    It belongs to the loop it is first used on; on another it raises WrongLoopError. Needs a loop with ``add_reader``
    (every loop but Windows' Proactor). Cancelling a task drops its request, at the server too.
    """

    def __init__(
        self,
        endpoint: str | Sequence[str],
        /,
        *,
        service: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retry: Retry | None = None,
        limits: Limits | None = None,
        heartbeat: Heartbeat | None = None,
        options: SocketOptions | None = None,
        security: Insecure | None = None,
        on_connection: Callable[[str, bool], None] | None = None,
        context: Context | None = None,
        _ports: Sequence[PortSocket] | None = None,
    ) -> None:
        retry, limits = chosen(retry, Retry), chosen(limits, Limits)
        beat, settings = chosen(heartbeat, Heartbeat), chosen(options, SocketOptions)
        check_callbacks(on_connection=on_connection)
        self._maker = Maker(timeout=timeout, retry=retry, limits=limits)
        self._endpoints = check_endpoints(endpoint, security)
        self._open: Callable[[], tuple[Requester, Pump]] = lambda: requester_pump(
            endpoint,
            retry=retry,
            limits=limits,
            heartbeat=beat,
            options=settings,
            security=security,
            context=context,
            service=service,
            ports=_ports,
        )
        self._on_connection = on_connection
        self._fork = ForkGuard("RequestClient")
        self._requester: AsyncRequester | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None
        self._closed = False

    # -- calls --------------------------------------------------------------------------------------------------

    @overload
    async def request(
        self,
        method: Method[None, Rep],
        body: None = ...,
        /,
        *,
        timeout: float | None = ...,
        headers: Mapping[str, str] | None = ...,
        idempotent: bool | None = ...,
        wait_for_ready: bool = ...,
    ) -> Rep: ...
    @overload
    async def request(
        self,
        method: Method[Req, Rep],
        body: Req,
        /,
        *,
        timeout: float | None = ...,
        headers: Mapping[str, str] | None = ...,
        idempotent: bool | None = ...,
        wait_for_ready: bool = ...,
    ) -> Rep: ...
    @overload
    async def request(
        self,
        method: str,
        body: object = ...,
        /,
        *,
        reply: TypeForm[Rep],
        timeout: float | None = ...,
        headers: Mapping[str, str] | None = ...,
        idempotent: bool | None = ...,
        wait_for_ready: bool = ...,
    ) -> Rep: ...
    async def request(
        self,
        method: Any,
        body: Any = None,
        /,
        *,
        reply: Any = None,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
        idempotent: bool | None = None,
        wait_for_ready: bool = True,
    ) -> Any:
        """As ``zpatterns.RequestClient.request``."""
        requester = self._ready()
        call, codec = self._maker.unary(
            method, body, reply, timeout, headers, idempotent=idempotent, wait_for_ready=wait_for_ready
        )
        try:
            await requester.run(call)
        except asyncio.CancelledError:
            requester.cancel(call)
            raise
        return finish(call, codec)

    @overload
    def stream(
        self,
        method: StreamMethod[Req, Rep],
        body: Req,
        /,
        *,
        timeout: float | None = ...,
        deadline: float | None = ...,
        headers: Mapping[str, str] | None = ...,
    ) -> Stream[Rep]: ...
    @overload
    def stream(
        self,
        method: str,
        body: object = ...,
        /,
        *,
        part: TypeForm[Rep],
        timeout: float | None = ...,
        deadline: float | None = ...,
        headers: Mapping[str, str] | None = ...,
    ) -> Stream[Rep]: ...
    def stream(
        self,
        method: Any,
        body: Any = None,
        /,
        *,
        part: Any = None,
        timeout: float | None = None,
        deadline: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """As ``zpatterns.RequestClient.stream``, with ``async with`` and ``async for``."""
        requester = self._ready()
        call, codec = self._maker.stream(method, body, part, timeout, deadline, headers)
        stream: Stream[Any] = Stream(requester, call, codec, self)
        call.application = _listener(weakref.ref(stream))
        try:
            requester.start(call)
        except ZPatternsError as error:  # the reader hears of it at the first part, as in the blocking world
            call.failure, call.done = error, True
        return stream

    async def request_plain(
        self,
        body: bytes | Sequence[bytes],
        /,
        *,
        timeout: float | None = None,
        idempotent: bool = False,
        envelope: Literal["id", "empty", "none"] = "id",
    ) -> list[bytes]:
        """As ``zpatterns.RequestClient.request_plain``."""
        requester = self._ready()
        call = self._maker.plain(body, timeout, envelope, idempotent=idempotent)
        try:
            await requester.run(call)
        except asyncio.CancelledError:
            requester.cancel(call)
            raise
        if call.failure is not None:
            raise call.failure
        return [frame if isinstance(frame, bytes) else bytes(frame) for frame in call.reply]

    # -- state --------------------------------------------------------------------------------------------------

    @property
    def connected(self) -> dict[str, bool]:
        """Whether each endpoint is connected."""
        ports = self._requester.machine.ports if self._requester is not None else []
        return {text: index < len(ports) and ports[index].up for index, text in enumerate(self._endpoints)}

    @property
    def statistics(self) -> RequestClientStatistics:
        """Counters since the client was opened."""
        return self._requester.machine.statistics if self._requester is not None else RequestClientStatistics()

    async def close(self) -> None:
        """End every open call with Closed and close the sockets; unsent messages get ``linger`` more. Idempotent."""
        requester = self._requester
        if requester is not None and not self._fork.forked:
            if not requester.loop.is_closed():
                check_loop(requester.loop, "client")
            if self._finalizer is not None:
                self._finalizer.detach()
            requester.close()
        self._closed = True

    async def __aenter__(self) -> Self:
        self._ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    def _ready(self) -> AsyncRequester:
        """The requester on the running loop; made at the first use."""
        requester = self._requester
        if (
            requester is not None
            and asyncio._get_running_loop() is requester.loop
            and not (requester.closed or self._fork.forked)
        ):
            return requester
        self._fork.check()
        if self._closed:
            raise Closed("the client is closed; make a new one")
        if requester is None:
            check_loop(None, "client")
            machine, pump = self._open()
            listener = connection_listener(self._endpoints, self._on_connection)
            requester = self._requester = AsyncRequester(machine, pump, listener)
            self._finalizer = watch(self, requester.loop, requester.close, self._fork)
        else:
            check_loop(requester.loop, "client")
        return requester


class Stream(Generic[T_co]):
    """The parts of one streamed reply, in order. ``async for`` it; leave its ``async with`` block to stop the server."""

    def __init__(self, requester: AsyncRequester, call: Call, codec: Codec[T_co], client: RequestClient) -> None:
        self._requester = requester
        self._client = client  # lives while somebody reads
        self._call = call
        self._codec = codec
        self._parts: deque[Part] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._closed = False

    def _hear(self, event: Call | Part) -> None:
        if isinstance(event, Part) and not self._closed:
            self._parts.append(event)
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def __aiter__(self) -> AsyncIterator[T_co]:
        return self

    async def __anext__(self) -> T_co:
        while not self._parts:
            if self._call.done or self._closed:
                if self._call.failure is not None and not self._closed:
                    raise self._call.failure
                raise StopAsyncIteration
            if self._waiting is not None and not self._waiting.done():
                raise ConfigurationError("another task already waits for the next part: a stream has one reader")
            self._waiting = self._requester.loop.create_future()
            await self._waiting
        part = self._parts.popleft()
        self._requester.read(self._call)
        return self._codec.decode(part.codec, part.frames[0], part.frames[1:])

    async def close(self) -> None:
        """Take no more parts and tell the server to stop. Idempotent."""
        if not self._closed:
            self._closed = True
            self._parts.clear()
            self._requester.cancel(self._call)
            self._wake()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        if not self._closed:
            self._requester.abandon(self._call)


def _listener(stream: weakref.ref[Stream[Any]]) -> Callable[[Call | Part], None]:
    """The loop must not keep a stream alive that nobody reads any more."""

    def hear(event: Call | Part) -> None:
        reader = stream()
        if reader is not None:
            reader._hear(event)

    return hear
