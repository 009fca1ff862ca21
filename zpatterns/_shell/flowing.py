"""What both worlds' ``Push`` and ``Pull`` are made of: a socket, and items in and out of messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..codec import MSGPACK, Codec, codec_for
from ..core.flow import LISTED, sizes
from ..core.machine import Frame, Frames
from ..drive import sockets
from ..drive.flows import Pipe
from ..drive.sockets import Context
from ..endpoint import Endpoint, Insecure
from ..errors import (
    Closed,
    ConfigurationError,
    DecodeError,
    MessageTooLarge,
    Overloaded,
    RequestTimeout,
    WrongThreadError,
)
from ..policy import DEFAULT_TIMEOUT, Limits, SocketOptions
from ..wire.jobs import CHUNK_BYTES
from .arguments import chosen
from .calls import checked_timeout
from .guards import checked_endpoint

LONGEST: float = 1e9
"""Seconds that a call may be told to wait as they are; what is not from 0 to this goes through ``checked_wait``."""


def checked_wait(timeout: float) -> float:
    """Seconds to wait. What is below 0 is a budget that was spent, and means 0; ConfigurationError for what is no time."""
    if isinstance(timeout, int | float) and timeout <= 0.0:
        return 0.0
    return checked_timeout(timeout)


class Settings:
    """What a Push or a Pull was made with, checked."""

    def __init__(
        self,
        endpoint: str,
        form: Any,
        *,
        bind: bool,
        high_water_mark: int | None,
        timeout: float = DEFAULT_TIMEOUT,
        batch: int = 64,
        limits: Limits | None,
        options: SocketOptions | None,
        security: Insecure | None,
        context: Context | None,
    ) -> None:
        if batch < 1:
            raise ConfigurationError(f"batch={batch}: at least one item travels in a message")
        self.text: str = endpoint
        self.endpoint: Endpoint = checked_endpoint(endpoint, bind=bind, security=security)
        self.bare: bool = form is bytes
        self.limits: Limits = chosen(limits, Limits)
        self.codec: Codec[Any] = codec_for(form, limits=self.limits)
        self.timeout: float = checked_timeout(timeout)
        self.batch: int = batch
        self.bind: bool = bind
        options = chosen(options, SocketOptions)
        self.options: SocketOptions = options
        if high_water_mark is not None:
            self.options = replace(options, high_water_mark=high_water_mark)
        self._context = context
        self._form = form
        self.packs: bool = batch > 1 and self.codec.pack_many is not None
        """Whether many items are encoded at once."""
        self._listed: Codec[Any] | None = None

    def open(self, kind: int) -> Pipe:
        """The socket."""
        context = self._context or sockets.default_context()
        return Pipe(context, kind, self.endpoint, self.options, self.limits, bind=self.bind)

    def unpacked(self, chunk: tuple[int, list[Frame], Frames]) -> tuple[int, list[Any], Frames]:
        """What came in as a list is decoded as one, several times faster than item by item. Raises DecodeError."""
        codec, payloads, buffers = chunk
        if codec != LISTED:
            return chunk
        if self._listed is None:
            self._listed = codec_for(list[self._form], limits=self.limits)  # type: ignore[name-defined]
        values: list[Any] = self._listed.decode(MSGPACK, payloads[0])
        if len(values) != int.from_bytes(buffers[0], "big"):
            raise DecodeError("fewer or more items than the header says", frames=payloads)
        values.reverse()
        return LISTED, values, ()

    def packed(self, items: list[Any]) -> bytes | None:
        """Many as one array, encoded at once; None where that is too large, or they are to be encoded one by one."""
        pack = self.codec.pack_many
        payload = pack(items) if pack is not None else None
        return payload if payload is not None and len(payload) <= CHUNK_BYTES else None

    def check_size(self, payload: Frame, buffers: Sequence[Frame]) -> None:
        """Raises MessageTooLarge."""
        size = sizes(payload, buffers)
        if size > self.limits.message or len(buffers) + 2 > self.limits.frames:
            raise MessageTooLarge(
                f"an item of {size} bytes in {len(buffers) + 1} frames; the limit is {self.limits.message} bytes in "
                f"{self.limits.frames - 1} frames (Limits.message, Limits.frames). Send less, or raise it on both sides"
            )


def closed(what: str) -> Closed:
    """It is closed."""
    return Closed(f"the {what} is closed; make a new one")


def gone(what: str) -> Closed:
    """It was not closed, and its socket is."""
    return Closed(f"the socket of the {what} is gone: was its context terminated?")


def within(call: str) -> WrongThreadError:
    """Called in the midst of itself."""
    return WrongThreadError(f"a {call}() in a signal handler that interrupted a {call}() would wait for itself")


def nobody(left: int, seconds: float) -> Overloaded:
    """Too many items wait."""
    return Overloaded(
        f"{left} items were not sent: nobody took one for {seconds:g} s. Is a Pull connected, and does it read?"
    )


def nothing(seconds: float) -> RequestTimeout:
    """No item has come."""
    return RequestTimeout(f"no item within {seconds:g} s; is a Push connected, and does it send?", sent=False)
