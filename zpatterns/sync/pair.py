"""The blocking ``Pair``: two ends, each typed in both directions, and never a third."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, overload

from .._shell.guards import ForkGuard, check_made
from .._shell.pairing import End, private_endpoint, two_types
from ..core.pairing import PairStatistics
from ..drive.pairing import BlockingPairing
from ..drive.sockets import Context
from ..endpoint import Insecure
from ..policy import DEFAULT_TIMEOUT, Limits, SocketOptions

if TYPE_CHECKING:
    from typing_extensions import TypeForm

S = TypeVar("S")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")


class Pair(Generic[S, R]):
    """One end of a pair: ``left, right = Pair.inproc(Job)`` within a process, `bind` and `connect` between two.

    ``Pair[S, R]`` sends S and receives R. Messages arrive in order; each end holds ``options.high_water_mark`` of them
    beyond libzmq's own queues, and a peer that does not read makes ``send`` wait. Every call ends within ``timeout`` seconds
    (its own, or the pair's). The ends greet each other, so a message only leaves for a peer that has answered. What a broken
    connection swallowed is counted at the receiver (``statistics.missed``), once the sender greets again or is closed.

    A pair has one peer. Another that connects is refused: counted and logged at the bound end, and PairRefused at its own,
    after ``options.handshake_timeout`` seconds without an answer; it keeps trying, and gets in when the first has gone.

    ``plain=True`` is for a bare PAIR socket at the other end: frames in, frames out, and nobody greets, so there a refused
    end cannot know. Any thread may use a pair. ``on_connection`` is called with True or False when the peer comes or goes,
    on the thread that drives the socket.
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
        """The two ends of a new pair within this process: ``Pair.inproc(Job)``, or ``Pair.inproc(Job, Result)``.

        The first end sends Job and receives Result, the second the other way round. When one is closed, the other is over.
        """
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
        """The end that has the address. Raises AddressInUse, InsecureEndpointError, ConfigurationError.

        One type is for both directions; with ``send=`` and ``receive=`` each has its own. ``plain=True``: bare frames.
        """
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
        """The end that connects; it may start first, and connects again when the connection breaks. Otherwise as `bind`."""
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
        machine, pump, outlook, self._address = end.open()
        self._end = end
        self._fork = ForkGuard("Pair")
        self._pairing = BlockingPairing(machine, pump, outlook, end.options.linger)
        self._finalizer = weakref.finalize(self, _abandoned, self._pairing, self._fork)
        self._finalizer.atexit = False  # the owner of its loop has an exit of its own, which sends what is unsent

    # -- messages -------------------------------------------------------------------------------------------------------

    def send(self, body: S, /, *, timeout: float | None = None) -> None:
        """Hand one message over for the peer. Waits while there is no peer, or while the queues on the way are full.

        Returns when it is in the queue for a peer that is there; whether it is read is for the peer to say. Raises
        PeerUnavailable (no peer in time, or it was closed), PairRefused, Overloaded (the peer does not read), Closed,
        MessageTooLarge, and TypeError for a body of another type.
        """
        self._fork.check()
        self._pairing.send(self._end.frames(body), self._end.deadline(timeout))

    def receive(self, *, timeout: float | None = None) -> R:
        """The next message. Raises RequestTimeout (a peer is there and sent nothing in time), PeerUnavailable (no peer in
        time, or it was closed), PairRefused, Closed, and DecodeError for what is not of its type: that message is gone.
        """
        self._fork.check()
        message = self._pairing.receive(self._end.deadline(timeout))
        assert message is not None  # None ends an iteration
        body: R = self._end.body(message)
        return body

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R:
        """The next message, whenever it comes. Ends when either end is closed and all is read.

        Raises PeerUnavailable when there is no peer for ``timeout`` seconds, otherwise as ``receive``.
        """
        self._fork.check()
        message = self._pairing.receive(self._end.deadline(None), iterating=self._end.timeout)
        if message is None:
            raise StopIteration
        body: R = self._end.body(message)
        return body

    # -- state ----------------------------------------------------------------------------------------------------------

    def ready(self, *, timeout: float | None = None) -> None:
        """Wait for the peer. Raises PeerUnavailable when none comes in time, PairRefused when the other end has another."""
        self._fork.check()
        self._pairing.ready(self._end.deadline(timeout))

    @property
    def endpoint(self) -> str:
        """The real address, port * resolved."""
        return self._address

    @property
    def connected(self) -> bool:
        """Whether the peer is there."""
        return self._pairing.machine.paired

    @property
    def statistics(self) -> PairStatistics:
        """Counters since the pair was made."""
        return self._pairing.machine.statistics

    def close(self) -> None:
        """Send what is in the queue, say farewell, and wait until the peer has it all: at most ``linger`` seconds.

        The peer's iteration ends, and its calls raise PeerUnavailable. Messages that came in and were not received are
        dropped. Idempotent.
        """
        self._finalizer.detach()
        if not self._fork.forked:
            self._pairing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _made(end: End) -> Pair[Any, Any]:
    return Pair(end)


def _abandoned(pairing: BlockingPairing, fork: ForkGuard) -> None:
    """The pair was dropped without close(): let nothing hang on it."""
    if not fork.forked:
        pairing.abandon()
