"""The blocking ``RequestClient``: typed requests that end by their deadline, from any number of threads."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from threading import Condition
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, Self, TypeVar, overload

from .._shell.arguments import check_callbacks, chosen
from .._shell.calls import Maker, finish
from .._shell.guards import ForkGuard
from .._shell.opening import connection_listener, requester_pump
from ..codec import Codec
from ..contract import Method, StreamMethod
from ..core.calls import Call, Part, RequestClientStatistics
from ..drive.pump import PortSocket
from ..drive.requesting import BlockingRequester
from ..drive.sockets import Context
from ..endpoint import Insecure
from ..errors import Closed
from ..policy import DEFAULT_TIMEOUT, Heartbeat, Limits, Retry, SocketOptions

if TYPE_CHECKING:
    from typing_extensions import TypeForm

Req = TypeVar("Req")
Rep = TypeVar("Rep")
T_co = TypeVar("T_co", covariant=True)


class RequestClient:
    """Sends typed requests to one server or to several with the same methods; may start before them.

    ``timeout`` is the whole budget of a call in seconds, over all ``retry.attempts``. Requests wait in a bounded queue
    (``limits.queue``) until a server can take them. Every call ends by its deadline, with the reply or with:
    ``RequestTimeout`` (no reply; ``.sent`` says whether a server may have run it), ``PeerUnavailable`` (never sent: no
    server), ``OutcomeUnknown`` (taken by a server that was lost, and not ``idempotent``), ``Overloaded`` (a queue is
    full), ``ReplyError`` (the handler's answer), ``DecodeError`` (the reply is not of its type) or ``Closed``.

    Any thread may use it, all at once; their requests overlap. ``security=Insecure()`` allows plaintext TCP beyond
    loopback. ``on_connection`` is called, on the thread that drives the sockets, with the endpoint and True or False
    when its connection comes or goes. Rules: Lazy Pirate (guide, ch. 4) with request ids.
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
        check_callbacks(on_connection=on_connection)
        retry, limits, options = chosen(retry, Retry), chosen(limits, Limits), chosen(options, SocketOptions)
        self._maker = Maker(timeout=timeout, retry=retry, limits=limits)
        machine, pump = requester_pump(
            endpoint,
            retry=retry,
            limits=limits,
            heartbeat=chosen(heartbeat, Heartbeat),
            options=options,
            security=security,
            context=context,
            service=service,
            ports=_ports,
        )
        self._endpoints = [endpoint] if isinstance(endpoint, str) else list(endpoint)
        self._fork = ForkGuard("RequestClient")
        self._requester = BlockingRequester(machine, pump, connection_listener(self._endpoints, on_connection))
        self._finalizer = weakref.finalize(self, _abandoned, self._requester, self._fork)

    # -- calls --------------------------------------------------------------------------------------------------

    @overload
    def request(
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
    def request(
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
    def request(
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
    def request(
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
        """Send a request and wait for its reply: ``client.request(ADD, Add(a=1, b=2))`` is a ``Sum``.

        ``timeout`` seconds replace the client's; ``headers`` reach ``ctx.headers``; ``idempotent`` replaces what the
        contract says; ``wait_for_ready=False`` raises PeerUnavailable at once when no server is connected. ``reply`` is
        the type of the reply to a method given by name. Raises what the class lists, and TypeError for a wrong body.
        """
        call, codec = self._maker.unary(
            method, body, reply, timeout, headers, idempotent=idempotent, wait_for_ready=wait_for_ready
        )
        if self._fork.forked or self._requester.closed:
            self._refuse()
        self._requester.run(call)
        return finish(call, codec)

    @overload
    def submit(
        self,
        method: Method[None, Rep],
        body: None = ...,
        /,
        *,
        timeout: float | None = ...,
        headers: Mapping[str, str] | None = ...,
        idempotent: bool | None = ...,
        wait_for_ready: bool = ...,
    ) -> Future[Rep]: ...
    @overload
    def submit(
        self,
        method: Method[Req, Rep],
        body: Req,
        /,
        *,
        timeout: float | None = ...,
        headers: Mapping[str, str] | None = ...,
        idempotent: bool | None = ...,
        wait_for_ready: bool = ...,
    ) -> Future[Rep]: ...
    @overload
    def submit(
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
    ) -> Future[Rep]: ...
    def submit(
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
        """As ``request``, but returns a ``concurrent.futures.Future`` at once and never blocks.

        Cancelling the future drops the request, at the server too. A full queue is ``Overloaded``, in the future.
        """
        call, codec = self._maker.unary(
            method, body, reply, timeout, headers, idempotent=idempotent, wait_for_ready=wait_for_ready
        )
        if self._fork.forked or self._requester.closed:
            self._refuse()
        future: Future[Any] = Future()
        call.application = _fulfilling(future, codec)
        # Through self, so that the client lives while somebody holds the future.
        future.add_done_callback(lambda done: self._requester.cancel(call) if done.cancelled() else None)
        self._requester.submit(call)
        return future

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
        """Open a stream of parts; iterate it, in a ``with`` block that tells the server to stop when it is left.

        ``timeout`` bounds the seconds to the first part and between parts, ``deadline`` those of the whole. At most
        ``Limits.credit`` parts wait here: a slow reader slows the server down.
        """
        call, codec = self._maker.stream(method, body, part, timeout, deadline, headers)
        if self._fork.forked or self._requester.closed:
            self._refuse()
        stream: Stream[Any] = Stream(self._requester, call, codec, self)
        call.application = _listener(weakref.ref(stream))
        self._requester.submit(call)
        return stream

    def request_plain(
        self,
        body: bytes | Sequence[bytes],
        /,
        *,
        timeout: float | None = None,
        idempotent: bool = False,
        envelope: Literal["id", "empty", "none"] = "id",
    ) -> list[bytes]:
        """Send bare frames and get bare frames back, from a REP or ROUTER in any language. Nothing is parsed.

        ``envelope="id"`` puts a request id before the delimiter, which a REP gives back: many can be in flight.
        ``"empty"`` sends the empty delimiter alone, as a REQ does, and ``"none"`` not even that, as a DEALER: for a
        ROUTER program that expects exactly so. Then one request is in flight at a time.
        """
        call = self._maker.plain(body, timeout, envelope, idempotent=idempotent)
        if self._fork.forked or self._requester.closed:
            self._refuse()
        self._requester.run(call)
        if call.failure is not None:
            raise call.failure
        return [frame if isinstance(frame, bytes) else bytes(frame) for frame in call.reply]

    # -- state --------------------------------------------------------------------------------------------------

    @property
    def connected(self) -> dict[str, bool]:
        """Whether each endpoint is connected, as far as this client has seen: it looks while calls are open."""
        return {text: port.up for text, port in zip(self._endpoints, self._requester.machine.ports, strict=True)}

    @property
    def statistics(self) -> RequestClientStatistics:
        """Counters since the client was made."""
        return self._requester.machine.statistics

    def close(self) -> None:
        """End every open call with Closed and close the sockets; unsent messages get ``linger`` more. Idempotent."""
        self._finalizer.detach()
        if not self._fork.forked:
            self._requester.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # -- inside -------------------------------------------------------------------------------------------------

    def _refuse(self) -> NoReturn:
        self._fork.check()
        raise Closed("the client is closed; make a new one")


def _fulfilling(future: Future[Any], codec: Codec[Any]) -> Callable[[Call], None]:
    def fulfil(call: Call) -> None:
        if not future.running() and not future.set_running_or_notify_cancel():
            return
        try:
            value = finish(call, codec)
        except Exception as error:  # noqa: BLE001  it belongs to whoever asks the future
            future.set_exception(error)
        else:
            future.set_result(value)

    return fulfil


class Stream(Generic[T_co]):
    """The parts of one streamed reply, in order. Iterate it; leave its ``with`` block to stop the server."""

    def __init__(self, requester: BlockingRequester, call: Call, codec: Codec[T_co], client: RequestClient) -> None:
        self._requester = requester
        self._client = client  # lives while somebody reads
        self._call = call
        self._codec = codec
        self._parts: deque[Part] = deque()
        self._changed = Condition()
        self._ended = False
        self._closed = False

    def _hear(self, event: Call | Part) -> None:
        with self._changed:
            if isinstance(event, Part):
                if not self._closed:  # it was under way when the reader left
                    self._parts.append(event)
            else:
                self._ended = True  # call.done says so before the last parts have been handed over
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T_co]:
        return self

    def __next__(self) -> T_co:
        with self._changed:
            while not self._parts:
                if self._ended or self._closed:
                    if self._call.failure is not None and not self._closed:
                        raise self._call.failure
                    raise StopIteration
                self._changed.wait(1.0)
            part = self._parts.popleft()
        self._requester.read(self._call)
        return self._codec.decode(part.codec, part.frames[0], part.frames[1:])

    def close(self) -> None:
        """Take no more parts and tell the server to stop. Idempotent."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._parts.clear()
            self._changed.notify_all()
        self._requester.cancel(self._call)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def _listener(stream: weakref.ref[Stream[Any]]) -> Callable[[Call | Part], None]:
    """The loop must not keep a stream alive that nobody reads any more."""

    def hear(event: Call | Part) -> None:
        reader = stream()
        if reader is not None:
            reader._hear(event)

    return hear


def _abandoned(requester: BlockingRequester, fork: ForkGuard) -> None:
    """The client was dropped without close(): let nothing hang on it."""
    if not fork.forked:
        requester.close()
