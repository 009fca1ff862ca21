"""Types made of msgspec's Structs, through msgspec's own encoder and decoder: the same bytes on the wire, several times faster."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from ..errors import ConfigurationError
from ..policy import Limits
from .binding import JSON, MSGPACK, label
from .bounds import OverLimit, check_json, refuse_ext, unpack
from .buffers import NO_BUFFERS, Buffer
from .failure import decode_error, shorten
from .modelled import Decode, Encode, Encoded, PackMany


def mentions_struct(form: Any, _seen: tuple[Any, ...] = ()) -> bool:
    """Whether a Struct is anywhere in a type. Without msgspec imported there are no Structs."""
    msgspec = sys.modules.get("msgspec")
    if msgspec is None or form in _seen:
        return False
    if isinstance(form, type) and issubclass(form, msgspec.Struct):
        return True
    inner: list[Any] = [get_origin(form), *get_args(form)]
    if hasattr(form, "__dataclass_fields__") or hasattr(form, "__required_keys__"):
        try:
            inner += get_type_hints(form).values()
        except (NameError, TypeError):
            pass  # left to pydantic, which says what cannot be resolved
    return any(mentions_struct(each, (*_seen, form)) for each in inner if isinstance(each, type) or get_args(each))


def bind(form: Any, codec: str, limits: Limits) -> tuple[int, Encode, Decode, PackMany | None]:
    """The wire id of a type with Structs in it, its encode and decode, and how many are encoded at once."""
    import msgspec

    name = label(form)
    try:
        packed, text = msgspec.msgpack.Decoder(form, ext_hook=refuse_ext), msgspec.json.Decoder(form)
        info = msgspec.inspect.type_info(form)
    except TypeError as error:
        raise ConfigurationError(f"{name} cannot be a body: {error}") from error
    if _holds(info, ("CustomType",), ()):
        raise ConfigurationError(f"{name} holds a type msgspec does not know (an array?): put it in a pydantic model")
    finite = not _holds(info, ("AnyType", "RawType", "ExtType"), (), cycles=True)
    encoder = msgspec.json.Encoder() if codec == "json" else msgspec.msgpack.Encoder()
    wire_id = JSON if codec == "json" else MSGPACK
    classes = _classes(form, msgspec.Struct)
    pack, parse, parse_json, most = encoder.encode, packed.decode, text.decode, limits.items

    def convert(value: Any) -> Encoded:
        """A body that is no such Struct: what it is as one, or an error that says what was expected."""
        try:
            if not isinstance(value, classes):
                value = msgspec.convert(value, form)
            return pack(value), NO_BUFFERS
        except Exception as error:  # noqa: BLE001
            problem = TypeError(shorten(f"expected {name}: {error}", limits.error_text))
        raise problem

    def encode(value: Any) -> Encoded:
        if type(value) in classes:
            try:
                return pack(value), NO_BUFFERS
            except Exception:  # noqa: BLE001
                pass
        return convert(value)

    known = frozenset(classes)

    def pack_many(values: list[Any]) -> bytes | None:
        if not known.issuperset(map(type, values)):
            return None
        try:
            return pack(values)
        except Exception:  # noqa: BLE001 - one by one it shows which
            return None

    def general(wire_id: int, payload: Buffer, buffers: Sequence[Buffer] = NO_BUFFERS) -> Any:
        try:
            if buffers:
                raise OverLimit(f"{len(buffers)} frames more than it can have")
            if wire_id == MSGPACK:  # msgspec has no limits of its own, so a long body is read twice
                unpack(payload, limits, finite=finite, ext=refuse_ext, any_key=True, use_list=False)
                return parse(payload)
            if wire_id == JSON:
                check_json(bytes(payload), limits, finite=finite)
                return parse_json(payload)
            raise OverLimit(f"a body of codec {wire_id} cannot be one")
        except Exception as error:  # noqa: BLE001
            problem = decode_error(error, name, [payload, *buffers], limits)
        raise problem

    several = pack_many if known else None
    if not finite:
        return wire_id, encode, general, several

    def decode(wire_id: int, payload: Buffer, buffers: Sequence[Buffer] = NO_BUFFERS) -> Any:
        if wire_id != MSGPACK or buffers or len(payload) > most:
            return general(wire_id, payload, buffers)
        try:
            return parse(payload)
        except Exception as error:  # noqa: BLE001
            problem = decode_error(error, name, [payload], limits)
        raise problem

    return wire_id, encode, decode, several


def _classes(form: Any, struct: type) -> tuple[type, ...]:
    """The Struct classes a whole body may be; a body of none of them is converted, which checks it."""
    choices = get_args(form) if isinstance(form, UnionType) or get_origin(form) is Union else (form,)
    return tuple(each for each in choices if isinstance(each, type) and issubclass(each, struct))


def _holds(info: Any, kinds: tuple[str, ...], above: tuple[Any, ...], *, cycles: bool = False) -> bool:
    """Whether msgspec's description of a type has one of these kinds in it or, if asked for, leads back to itself."""
    if type(info).__name__ in kinds:
        return True
    cls = getattr(info, "cls", None)
    if cls is not None:
        if cls in above:
            return cycles
        above = (*above, cls)
    return any(_holds(inner, kinds, above, cycles=cycles) for inner in _inner(info))


def _inner(info: Any) -> list[Any]:
    found: list[Any] = []
    for name in ("item_type", "item_types", "key_type", "value_type", "types", "fields"):
        value = getattr(info, name, ())
        found += value if isinstance(value, tuple) else [value]
    return [each.type if hasattr(each, "encode_name") else each for each in found]
