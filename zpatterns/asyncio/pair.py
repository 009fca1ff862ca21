"""The asyncio ``Pair``: two ends, each typed in both directions, and never a third."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, overload

from .._shell.dropped import watch
from .._shell.guards import ForkGuard, check_made
from .._shell.loops import check_loop
from .._shell.pairing import End, private_endpoint, two_types
from ..core.pairing import PairStatistics
from ..drive.apairing import AsyncPairing
from ..drive.sockets import Context
from ..endpoint import Insecure
from ..errors import Closed
from ..policy import DEFAULT_TIMEOUT, Limits, SocketOptions

if TYPE_CHECKING:
    from typing_extensions import TypeForm

S = TypeVar("S")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")


class Pair(Generic[S, R]):
    """``zpatterns.Pair`` for asyncio: same arguments, same rules, same errors.

    It belongs to the loop it is first used on, and opens its socket then: ``async with`` it, so that ``endpoint`` is known.
    The other end may be of the blocking world, which joins a thread and a loop: `bind` one and `connect` the other, inproc.
    """

    _end: End

    # -- making one -----------------------------------------------------------------------------------------------------

    @overload
    @staticmethod
    def inproc(
        both: TypeForm[A],
        /,
        *,
        timeout: float = ...,
        limits: Limits | None = ...,
        options: SocketOptions | None = ...,
        context: Context | None = ...,
    ) -> tuple[Pair[A, A], Pair[A, A]]: ...
    @overload
    @staticmethod
    def inproc(
        there: TypeForm[A],
        back: TypeForm[B],
        /,
        *,
        timeout: float = ...,
        limits: Limits | None = ...,
        options: SocketOptions | None = ...,
        context: Context | None = ...,
    ) -> tuple[Pair[A, B], Pair[B, A]]: ...
    @staticmethod
    def inproc(
        *types: Any,
        timeout: float = DEFAULT_TIMEOUT,
        limits: Limits | None = None,
        options: SocketOptions | None = None,
        context: Context | None = None,
    ) -> Any:
        """As ``zpatterns.Pair.inproc``. Each end opens with ``async with`` or at its first use: until then it is no peer."""
        there, back = two_types(types)
        endpoint = private_endpoint()

        def end(send: Any, receive: Any, *, bind: bool) -> Any:
            return _made(
                End(
                    endpoint,
                    (),
                    bind=bind,
                    send=send,
                    receive=receive,
                    lasting=False,
                    timeout=timeout,
                    limits=limits,
                    options=options,
                    context=context,
                )
            )

        return end(there, back, bind=True), end(back, there, bind=False)

    @overload
    @staticmethod
    def bind(
        endpoint: str,
        both: TypeForm[A],
        /,
        *,
        timeout: float = ...,
        limits: Limits | None = ...,
        options: SocketOptions | None = ...,
        security: Insecure | None = ...,
        on_connection: Callable[[bool], None] | None = ...,
        context: Context | None = ...,
    ) -> Pair[A, A]: ...
    @overload
    @staticmethod
    def bind(
        endpoint: str,
        /,
        *,
        send: TypeForm[A],
        receive: TypeForm[B],
        timeout: float = ...,
        limits: Limits | None = ...,
        options: SocketOptions | None = ...,
        security: Insecure | None = ...,
        on_connection: Callable[[bool], None] | None = ...,
        context: Context | None = ...,
    ) -> Pair[A, B]: ...
    @overload
    @staticmethod
    def bind(
        endpoint: str,
        /,
        *,
        plain: Literal[True],
        timeout: float = ...,
        limits: Limits | None = ...,
        options: SocketOptions | None = ...,
        security: Insecure | None = ...,
        on_connection: Callable[[bool], None] | None = ...,
        context: Context | None = ...,
    ) -> Pair[bytes | Sequence[bytes], list[bytes]]: ...
    @staticmethod
    def bind(
        endpoint: str,
        /,
        *both: Any,
        send: Any = None,
        receive: Any = None,
        plain: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
        limits: Limits | None = None,
        options: SocketOptions | None = None,
        security: Insecure | None = None,
        on_connection: Callable[[bool], None] | None = None,
        context: Context | None = None,
    ) -> Any:
        """As ``zpatterns.Pair.bind``."""
        return _made(
            End(
                endpoint,
                both,
                bind=True,
                send=send,
                receive=receive,
                plain=plain,
                timeout=timeout,
                limits=limits,
                options=options,
                security=security,
                on_connection=on_connection,
                context=context,
            )
        )

    @overload
    @staticmethod
    def connect(
        endpoint: str,
        both: TypeForm[A],
        /,
        *,
        timeout: float = ...,
        limits: Limits | None = ...,
        options: SocketOptions | None = ...,
        security: Insecure | None = ...,
        on_connection: Callable[[bool], None] | None = ...,
        context: Context | None = ...,
    ) -> Pair[A, A]: ...
    @overload
    @staticmethod
    def connect(
        endpoint: str,
        /,
        *,
        send: TypeForm[A],
        receive: TypeForm[B],
        timeout: float = ...,
        limits: Limits | None = ...,
        options: SocketOptions | None = ...,
        security: Insecure | None = ...,
        on_connection: Callable[[bool], None] | None = ...,
        context: Context | None = ...,
    ) -> Pair[A, B]: ...
    @overload
    @staticmethod
    def connect(
        endpoint: str,
        /,
        *,
        plain: Literal[True],
        timeout: float = ...,
        limits: Limits | None = ...,
        options: SocketOptions | None = ...,
        security: Insecure | None = ...,
        on_connection: Callable[[bool], None] | None = ...,
        context: Context | None = ...,
    ) -> Pair[bytes | Sequence[bytes], list[bytes]]: ...
    @staticmethod
    def connect(
        endpoint: str,
        /,
        *both: Any,
        send: Any = None,
        receive: Any = None,
        plain: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
        limits: Limits | None = None,
        options: SocketOptions | None = None,
        security: Insecure | None = None,
        on_connection: Callable[[bool], None] | None = None,
        context: Context | None = None,
    ) -> Any:
        """As ``zpatterns.Pair.connect``."""
        return _made(
            End(
                endpoint,
                both,
                bind=False,
                send=send,
                receive=receive,
                plain=plain,
                timeout=timeout,
                limits=limits,
                options=options,
                security=security,
                on_connection=on_connection,
                context=context,
            )
        )

    def __init__(self, end: End) -> None:
        check_made(end, End, "Pair.bind(endpoint, type), Pair.connect(endpoint, type) or Pair.inproc(type)")
        self._end = end
        self._fork = ForkGuard("Pair")
        self._pairing: AsyncPairing | None = None
        self._address = end.text
        self._finalizer: weakref.finalize[..., Any] | None = None
        self._closed = False

    # -- messages -------------------------------------------------------------------------------------------------------

    async def send(self, body: S, /, *, timeout: float | None = None) -> None:
        """As ``zpatterns.Pair.send``."""
        pairing = self._ready()
        await pairing.send(self._end.frames(body), self._end.deadline(timeout))

    async def receive(self, *, timeout: float | None = None) -> R:
        """As ``zpatterns.Pair.receive``. A cancelled task loses no message."""
        message = await self._ready().receive(self._end.deadline(timeout))
        assert message is not None  # None ends an iteration
        body: R = self._end.body(message)
        return body

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        """As ``zpatterns.Pair.__next__``."""
        if self._closed:
            raise StopAsyncIteration
        message = await self._ready().receive(self._end.deadline(None), iterating=self._end.timeout)
        if message is None:
            raise StopAsyncIteration
        body: R = self._end.body(message)
        return body

    # -- state ----------------------------------------------------------------------------------------------------------

    async def ready(self, *, timeout: float | None = None) -> None:
        """As ``zpatterns.Pair.ready``."""
        await self._ready().ready(self._end.deadline(timeout))

    @property
    def endpoint(self) -> str:
        """The real address once the pair was opened, port * resolved; before that, what was asked for."""
        return self._address

    @property
    def connected(self) -> bool:
        """Whether the peer is there."""
        return self._pairing is not None and self._pairing.machine.paired

    @property
    def statistics(self) -> PairStatistics:
        """Counters since the pair was opened."""
        return self._pairing.machine.statistics if self._pairing is not None else PairStatistics()

    async def close(self) -> None:
        """As ``zpatterns.Pair.close``."""
        pairing = self._pairing
        if pairing is None or self._closed or self._fork.forked:
            self._closed = True
            return
        if not pairing.loop.is_closed():
            check_loop(pairing.loop, "pair")
        self._closed = True
        if self._finalizer is not None:
            self._finalizer.detach()
        if pairing.loop.is_closed():
            pairing.close_now()
        else:
            await pairing.close()

    async def __aenter__(self) -> Self:
        self._ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    def _ready(self) -> AsyncPairing:
        """This end on the running loop; opened at the first use."""
        self._fork.check()
        pairing = self._pairing
        if self._closed:
            raise Closed("the pair is closed; make a new one")
        check_loop(pairing.loop if pairing is not None else None, "pair")
        if pairing is None:
            machine, pump, outlook, self._address = self._end.open()
            pairing = self._pairing = AsyncPairing(machine, pump, outlook, self._end.options.linger)
            self._finalizer = watch(self, pairing.loop, pairing.close_now, self._fork)
        return pairing


def _made(end: End) -> Pair[Any, Any]:
    return Pair(end)
