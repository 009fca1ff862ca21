"""``bytes`` and ``memoryview`` as whole bodies: the payload is the value, with no encoding around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..policy import Limits
from .binding import RAW, label
from .bounds import OverLimit
from .buffers import NO_BUFFERS, Buffer, contiguous
from .failure import decode_error
from .modelled import Decode, Encode, Encoded, bind as bind_model


def bind(form: type[object], limits: Limits) -> tuple[int, Encode, Decode]:
    """RAW, with msgpack and JSON read as well. A large ``memoryview`` is not copied: it becomes the one buffer."""
    other = bind_model(form, "msgpack", limits)[2]
    made: Callable[[Buffer], Any] = bytes if form is bytes else _view

    def encode(value: Any) -> Encoded:
        if type(value) is bytes:
            return value, NO_BUFFERS
        if type(value) not in (bytearray, memoryview):
            raise TypeError(f"expected {label(form)}: got a {type(value).__name__}")
        view = memoryview(value)
        return (b"", (contiguous(view),)) if view.nbytes >= limits.buffer else (bytes(view), NO_BUFFERS)

    def decode(wire_id: int, payload: Buffer, buffers: Sequence[Buffer] = NO_BUFFERS) -> Any:
        if wire_id != RAW:
            return other(wire_id, payload, buffers)
        if not buffers:
            return made(payload)
        if len(payload) == 0 and len(buffers) == 1:
            return made(buffers[0])
        raise decode_error(OverLimit("more than one frame"), label(form), [payload, *buffers], limits)

    return RAW, encode, decode


def _view(frame: Buffer) -> memoryview:
    return memoryview(frame).toreadonly()
