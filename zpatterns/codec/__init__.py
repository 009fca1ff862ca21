"""Types to bytes and back: one `Codec` per type, made once, that packs, unpacks and validates within limits.

Knows types and bytes; no headers, no sockets. Models and everything else pydantic understands travel as msgpack or JSON,
msgspec's Structs as msgpack, ``bytes`` as they are. Whatever a peer sends, `Codec.decode` returns a value of the type or
raises `DecodeError`; whatever a caller passes, `Codec.encode` returns frames or raises `TypeError`.

Rules of the wire: maps have text keys (an ``int`` key travels as text); of equal keys the last wins; NaN and infinities are
allowed in msgpack and refused in JSON; integers beyond 64 bits travel as text; sets, dates, UUIDs and the like as in
pydantic's JSON. A type with strict validation somewhere travels as JSON when msgpack would lose what strict asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from ..errors import ConfigurationError
from ..policy import Limits
from . import arrays, modelled, raw, structs
from .binding import JSON, MSGPACK, RAW
from .buffers import NO_BUFFERS, Buffer, is_array_class

if TYPE_CHECKING:
    from typing_extensions import TypeForm

__all__ = ["JSON", "MSGPACK", "NO_BUFFERS", "RAW", "Buffer", "Codec", "CodecName", "Encode", "codec_for"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)
CodecName = Literal["msgpack", "json"]

_DEFAULT_LIMITS = Limits()
_MOST_CACHED = 4096


class Encode(Protocol[T_contra]):
    """A body to its payload and buffers."""

    def __call__(self, value: T_contra, /) -> tuple[bytes, Sequence[Buffer]]: ...


class Decode(Protocol[T_co]):
    def __call__(self, wire_id: int, payload: Buffer, buffers: Sequence[Buffer] = ...) -> T_co: ...


class Codec(Generic[T]):
    """The two functions of one type. They are attributes, not methods: a call costs one frame, not two.

    ``wire_id`` is what `encode` writes; `decode` reads whichever of `MSGPACK`, `JSON` and `RAW` the type can come in.
    """

    __slots__ = ("decode", "encode", "pack_many", "wire_id")

    wire_id: int
    encode: Encode[T]
    """Payload and out-of-band buffers (an empty tuple, usually). Raises TypeError for a value of another type."""
    decode: Decode[T]
    """A value of the type, from the peer's wire id, its payload and its buffers. Raises DecodeError and nothing else."""
    pack_many: Callable[[list[T]], bytes | None] | None
    """Several values as one array of the same bytes, several times faster; None where some value is not the usual kind.
    The whole is None where there is no faster way than one by one."""

    def __init__(
        self,
        wire_id: int,
        encode: Encode[T],
        decode: Decode[T],
        pack_many: Callable[[list[T]], bytes | None] | None = None,
    ) -> None:
        self.pack_many = pack_many
        self.wire_id = wire_id
        self.encode = encode
        self.decode = decode


_cache: dict[Any, Codec[Any]] = {}


def codec_for(form: TypeForm[T], /, *, codec: CodecName = "msgpack", limits: Limits = _DEFAULT_LIMITS) -> Codec[T]:
    """The codec of a type; the same object for the same arguments, where they can be hashed.

    Raises ConfigurationError for a type that cannot be sent, or not by this codec.
    """
    key = (form, repr(form), codec, limits)  # ``A | B`` equals ``B | A``, yet the first that fits wins
    try:
        found = _cache.get(key)
    except TypeError:
        return _make(form, codec, limits)
    if found is None:
        if len(_cache) >= _MOST_CACHED:
            _cache.clear()
        found = _cache[key] = _make(form, codec, limits)
    return found


def _make(form: Any, codec: str, limits: Limits) -> Codec[Any]:
    if codec not in ("msgpack", "json"):
        raise ConfigurationError(f"codec={codec!r}: must be 'msgpack' or 'json'")
    if form is bytes or form is memoryview:
        return Codec(*raw.bind(form, limits))
    if structs.mentions_struct(form):
        return Codec(*structs.bind(form, codec, limits))
    if is_array_class(form):
        return Codec(*arrays.bind(form, codec, limits))
    return Codec(*modelled.bind(form, codec, limits))
