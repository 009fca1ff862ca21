"""A body that is one array and nothing else: its payload says dtype and shape, so it repeats, and is looked up instead of made.

For what is not the usual case (small arrays, times, text, other byte orders) the way of every other type does the same work.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ..policy import Limits
from . import modelled
from .binding import MSGPACK
from .buffers import NDARRAY, NO_BUFFERS, Buffer, placeholder

_NATIVE = frozenset("?bBhHiIlLqQfd")
"""dtypes whose memory Python itself can look at as bytes."""
_CACHED = 1024


@lru_cache(_CACHED)
def _payload(dtype: str, shape: tuple[int, ...]) -> bytes:
    return placeholder(0, NDARRAY, dtype, list(shape))


def bind(form: Any, codec: str, limits: Limits) -> tuple[int, modelled.Encode, modelled.Decode]:
    """The wire id of ``numpy.ndarray``, and its encode and decode."""
    wire_id, general_encode, general_decode, _ = modelled.bind(form, codec, limits)
    large, numpy = limits.buffer, sys.modules["numpy"]
    seen: dict[bytes, tuple[Any, tuple[int, ...], int]] = {}

    def encode(value: Any) -> modelled.Encoded:
        if type(value) is form and value.nbytes >= large and value.flags.c_contiguous:
            dtype = value.dtype
            if dtype.char in _NATIVE and dtype.isnative:
                return _payload(dtype.str, value.shape), (value.data.cast("B").toreadonly(),)
        return general_encode(value)

    def decode(peer_id: int, payload: Buffer, buffers: Sequence[Buffer] = NO_BUFFERS) -> Any:
        repeats = peer_id == MSGPACK and len(buffers) == 1 and type(payload) is bytes
        known = seen.get(payload) if repeats else None  # type: ignore[arg-type]
        if known is not None and len(buffers[0]) == known[2]:
            array = numpy.frombuffer(buffers[0], known[0]).reshape(known[1])
            array.flags.writeable = False
            return array
        array = general_decode(peer_id, payload, buffers)
        if repeats:  # and so was decoded: 32 dimensions are its longest
            if len(seen) >= _CACHED:  # a peer that sends ever new shapes must not grow this
                seen.clear()
            seen[payload] = array.dtype, array.shape, array.nbytes  # type: ignore[index]
        return array

    return wire_id, encode, decode
