"""Large ``bytes``, memoryviews and arrays travel as frames of their own; a placeholder in the payload says which and what.

A placeholder is msgpack extension ``0x7A`` around ``[index, kind, dtype, shape]``: the index of the frame, or the data itself
when it is small. numpy is only used where the program has imported it; nothing here ever unpickles.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgpack
from pydantic_core import to_jsonable_python

from ..policy import Limits
from .bounds import OverLimit, refuse_ext

EXT = 0x7A
BYTES, MEMORYVIEW, NDARRAY = 0, 1, 2
RESERVED_FRAMES = 8
"""Frames of a message kept for its envelope: with the others used up, buffers travel inside the payload."""

Buffer = bytes | memoryview
NO_BUFFERS: tuple[Buffer, ...] = ()

_class: Callable[[Any], Any] = type  # does not narrow Any to a dict of unknowns
_LEAVES = frozenset({str, int, float, bool, type(None)})
_SEQUENCES = frozenset({list, tuple, set, frozenset})
_PLAIN_DTYPE = re.compile(r"[<>|](?:[biufcSU]\d{1,4}|[mM]8(?:\[\d{0,9}[a-zμ]{1,2}\])?)")
"""dtypes whose bytes are all there is to them: no objects, no records."""
_MOST_DIMENSIONS = 32


def is_array_class(cls: object) -> bool:
    """Whether ``cls`` is ``numpy.ndarray``, without importing numpy."""
    return getattr(cls, "__module__", "") == "numpy" and getattr(cls, "__name__", "") == "ndarray"


class Lifter:
    """Takes the large values out of one body. Also gives every dict the text keys the wire wants."""

    __slots__ = ("buffers", "limits", "room")

    def __init__(self, limits: Limits) -> None:
        self.limits: Limits = limits
        self.buffers: list[Buffer] = []
        self.room: int = limits.frames - RESERVED_FRAMES

    def lift(self, value: Any, level: int = 1) -> Any:
        """The value with placeholders in it; a TypeError if the peer would refuse it."""
        kind = _class(value)
        if kind in _LEAVES:
            return value
        if kind is bytes:
            return value if len(value) < self.limits.buffer else self.place(BYTES, value)
        if kind is dict:
            return self.lift_dict(value, level)
        if kind in _SEQUENCES:
            self.check(value, level)
            return [self.lift(item, level + 1) for item in value]
        if kind is bytearray:
            return self.lift(bytes(value), level)
        if kind is memoryview:
            return self.place(MEMORYVIEW, contiguous(value))
        if _is_array(value):
            return self.place(NDARRAY, *array_parts(value))
        if issubclass(kind, (dict, tuple)):  # a NamedTuple, an OrderedDict
            return self.lift(dict(value) if issubclass(kind, dict) else tuple(value), level)
        return value

    def lift_dict(self, value: dict[Any, Any], level: int) -> dict[Any, Any]:
        self.check(value, level)
        lifted = {
            (key if type(key) is str else key_text(key)): self.lift(item, level + 1) for key, item in value.items()
        }
        if len(lifted) != len(value):
            raise TypeError("two keys of one dict are the same text on the wire")
        return lifted

    def check(self, container: Any, level: int) -> None:
        if level > self.limits.depth:
            raise TypeError(f"the body is nested deeper than Limits.depth={self.limits.depth}")
        if len(container) > self.limits.items:
            raise TypeError(f"a container in the body has more entries than Limits.items={self.limits.items}")

    def place(self, kind: int, data: Buffer, *described: object) -> msgpack.ExtType:
        where: int | bytes
        if len(data) >= self.limits.buffer and len(self.buffers) < self.room:
            where = len(self.buffers)
            self.buffers.append(data)
        else:
            where = bytes(data)
        return msgpack.ExtType(EXT, msgpack.packb([where, kind, *described]))


def placeholder(where: int, kind: int, *described: object) -> bytes:
    """The payload of a body that is one buffer."""
    return msgpack.packb(msgpack.ExtType(EXT, msgpack.packb([where, kind, *described])))


def key_text(key: Any) -> str | bytes:
    """A dict key as pydantic's lax mode reads it back. Keys of several parts do not survive as text."""
    if isinstance(key, bytes):
        return key
    if isinstance(key, (tuple, frozenset)):
        raise TypeError("a dict key of several values cannot be sent: use a list of pairs")
    return str(next(iter(to_jsonable_python({key: None}))))


def contiguous(view: memoryview) -> memoryview:
    """The same bytes as one flat, read-only stretch; copied only when it is not one."""
    if not view.c_contiguous:
        view = memoryview(view.tobytes())
    return view.toreadonly() if view.format == "B" and view.ndim == 1 else _flat(view)


def _flat(view: memoryview) -> memoryview:
    return memoryview(view.tobytes()) if view.nbytes == 0 else view.cast("B").toreadonly()


def _is_array(value: object) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def array_parts(array: Any) -> tuple[memoryview, str, list[int]]:
    """Memory, dtype and shape of an array of plain numbers, text or times."""
    numpy = sys.modules["numpy"]
    if type(array) not in (numpy.ndarray, numpy.memmap):
        raise TypeError(f"a {type(array).__name__} is more than its numbers and would lose it: send a plain array")
    dtype: str = array.dtype.str
    if not _PLAIN_DTYPE.fullmatch(dtype):
        raise TypeError(f"an array of dtype {array.dtype} cannot be sent: only plain numbers, text and times")
    shape = list(array.shape)
    flat = numpy.ascontiguousarray(array).reshape(-1)
    return memoryview(flat.view(numpy.uint8)).toreadonly() if array.size else memoryview(b""), dtype, shape


class Taker:
    """Puts the frames of one message back where its placeholders are, each exactly once and in order."""

    __slots__ = ("buffers", "taken")

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        self.buffers: Sequence[Buffer] = buffers
        self.taken: int = 0

    def take(self, code: int, data: bytes) -> Any:
        """The ``ext_hook`` of types that can hold buffers."""
        if code != EXT:
            return refuse_ext(code, data)
        where, kind, *rest = msgpack.unpackb(data, ext_hook=refuse_ext, max_array_len=_MOST_DIMENSIONS)
        frame: Buffer
        if type(where) is bytes:
            frame = where
        elif type(where) is int and where == self.taken < len(self.buffers):
            frame = self.buffers[where]
            self.taken += 1
        else:
            raise OverLimit("a placeholder names a frame that is not there, or not the next")
        if type(kind) is not int or not 0 <= kind < len(_REBUILD):
            raise OverLimit("a placeholder of an unknown kind")
        return _REBUILD[kind](frame, *rest)

    def finish(self) -> None:
        if self.taken != len(self.buffers):
            raise OverLimit(f"{len(self.buffers) - self.taken} frames belong to no placeholder")


def _array(frame: Buffer, dtype: str, shape: list[int]) -> Any:
    """A read-only view of the frame; the frame must be exactly as large as dtype and shape say."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        raise OverLimit("it holds an array, and numpy is not imported here")
    if not _PLAIN_DTYPE.fullmatch(dtype):
        raise OverLimit("an array of a dtype that is not accepted")
    if len(shape) > _MOST_DIMENSIONS or not all(type(size) is int and size >= 0 for size in shape):
        raise OverLimit("an array of an impossible shape")
    kind = numpy.dtype(dtype)
    if math.prod(shape) * kind.itemsize != len(frame):
        raise OverLimit("an array whose frame is not of the size its shape says")
    array = numpy.frombuffer(frame, dtype=kind) if len(frame) else numpy.empty(0, dtype=kind)
    array = array.reshape(shape)
    array.flags.writeable = False
    return array


def _view(frame: Buffer) -> memoryview:
    return memoryview(frame).toreadonly()


_REBUILD: tuple[Callable[..., Any], ...] = (bytes, _view, _array)
