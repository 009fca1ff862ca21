"""What both worlds' ``Pair`` share: the two types as codecs, frames made and read, and an end opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from time import monotonic
from typing import Any

from ..codec import codec_for
from ..core.machine import Frame, Frames
from ..core.pairing import Pairing, Received, frames_of
from ..drive import sockets
from ..drive.pair_port import PairPort, incarnation_for
from ..drive.pairing import Outlook, PairPump
from ..drive.sockets import Context
from ..endpoint import Insecure
from ..errors import ConfigurationError, DecodeError, MessageTooLarge
from ..policy import DEFAULT_TIMEOUT, Limits, SocketOptions
from .arguments import check_callbacks, chosen
from .calls import checked_timeout
from .guards import checked_endpoint

_numbers = count(1)


class End:
    """One end before it is opened, and what it does with bodies."""

    def __init__(
        self,
        endpoint: str,
        types: tuple[Any, ...],
        *,
        bind: bool,
        send: Any = None,
        receive: Any = None,
        plain: bool = False,
        lasting: bool = True,
        timeout: float = DEFAULT_TIMEOUT,
        limits: Limits | None = None,
        options: SocketOptions | None = None,
        security: Insecure | None = None,
        on_connection: Callable[[bool], None] | None = None,
        context: Context | None = None,
    ) -> None:
        self.timeout: float = checked_timeout(timeout)
        check_callbacks(on_connection=on_connection)
        self.limits: Limits = chosen(limits, Limits)
        self.options: SocketOptions = chosen(options, SocketOptions)
        self.plain: bool = plain
        self.text: str = endpoint
        self._bind = bind
        self._lasting = lasting
        self._checked = checked_endpoint(endpoint, bind=bind, security=security)
        self._on_connection = on_connection
        self._context = context
        if plain:
            if types or send is not None or receive is not None:
                raise ConfigurationError("plain=True sends and receives bare frames: leave the types out")
        else:
            if types and (len(types) > 1 or send is not None or receive is not None):
                raise ConfigurationError("pass one type for both directions, or send= and receive=")
            send, receive = (types[0], types[0]) if types else (send, receive)
            if send is None or receive is None:
                raise ConfigurationError("say what travels: one type for both directions, or send= and receive=")
            self._encode = codec_for(send, limits=self.limits)
            self._decode = codec_for(receive, limits=self.limits)

    def open(self) -> tuple[Pairing, PairPump, Outlook, str]:
        """The machine, its socket, what to say to callers, and the real address."""
        options = self.options
        mark = options.high_water_mark
        incarnation = incarnation_for(self._checked)
        machine = Pairing(
            incarnation=incarnation,
            accepts=self._bind,
            linked=self._checked.transport != "inproc",
            lasting=self._lasting,
            plain=self.plain,
            patience=options.handshake_timeout,
            backoff=(options.reconnect_interval, options.reconnect_interval_max),
            high_water_mark=mark,
        )
        context = self._context or sockets.default_context()
        port = PairPort(
            context,
            self._checked,
            options,
            self.limits,
            lambda: machine.expects,
            incarnation,
            lambda: machine.peer,
            bind=self._bind,
            greets=not self.plain,
        )
        outlook = Outlook(machine, f"the pair at {port.address}", mark, self._on_connection)
        return machine, PairPump(machine, port, self.limits), outlook, port.address

    def deadline(self, timeout: float | None) -> float:
        """When a call that starts now is over."""
        return monotonic() + (self.timeout if timeout is None else checked_timeout(timeout))

    def frames(self, body: Any) -> Frames:
        """A body as it travels. Raises TypeError for one of another type, MessageTooLarge for one over the limits."""
        if self.plain:
            return self._bare(body)
        payload, buffers = self._encode.encode(body)
        self._check_size(payload, buffers)
        return frames_of(self._encode.wire_id, payload, buffers)

    def body(self, message: Received) -> Any:
        """What came in. Raises DecodeError when it is not of its type."""
        if self.plain:
            return [frame if isinstance(frame, bytes) else bytes(frame) for frame in message.frames]
        if message.codec < 0:
            raise DecodeError(
                "the peer of this pair sent what no Pair sends: if it is a bare PAIR socket, pass plain=True at this end",
                frames=message.frames,
            )
        return self._decode.decode(message.codec, message.frames[0], message.frames[1:])

    def _bare(self, body: Any) -> Frames:
        frames: list[Any] = [body] if isinstance(body, bytes | bytearray | memoryview) else list(body)
        if not frames or any(not isinstance(frame, bytes | bytearray | memoryview) for frame in frames):
            raise TypeError("a plain message is bytes, or a list of one or more bytes frames")
        self._check_size(frames[0], frames[1:])
        return [bytes(frame) if isinstance(frame, bytearray) else frame for frame in frames]

    def _check_size(self, payload: Frame, buffers: Sequence[Frame]) -> None:
        size = len(payload) + sum(memoryview(buffer).nbytes for buffer in buffers)
        if size > self.limits.message or len(buffers) + 2 > self.limits.frames:
            raise MessageTooLarge(
                f"{size} bytes in {len(buffers) + 1} frames; the limit is {self.limits.message} bytes in "
                f"{self.limits.frames - 1} frames (Limits.message, Limits.frames). Send less, or raise it on both sides"
            )


def private_endpoint() -> str:
    """An address of this process that nobody else has."""
    return f"inproc://zpatterns.pair.{next(_numbers)}"


def two_types(types: tuple[Any, ...]) -> tuple[Any, Any]:
    """What goes from the first end to the second, and back."""
    if not 1 <= len(types) <= 2:
        raise ConfigurationError("Pair.inproc takes one type for both directions, or two, there and back")
    return types[0], types[-1]
