"""Whatever pydantic understands, as msgpack or JSON. The way is chosen once per type, by what `shape` proves of its schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgpack
from pydantic import ValidationError

from ..errors import DecodeError
from ..policy import Limits
from .binding import JSON, MSGPACK, Bound
from .bounds import OverLimit, check_json, refuse_ext, unpack
from .buffers import NO_BUFFERS, Buffer, Lifter, Taker
from .failure import decode_error, shorten, validation_text
from .flat import flat_fields
from .plain import MASKED, holds_nan, plain

Encoded = tuple[bytes, Sequence[Buffer]]
Encode = Callable[[Any], Encoded]
Decode = Callable[..., Any]
PackMany = Callable[[list[Any]], bytes | None]

_QUOTED = re.compile(r"[, [(]*input_value=.*, input_type=\w+", re.DOTALL)
"""How pydantic's serializer quotes what it was given; greedy, so that nothing of several quotes is left."""
_NIL = b"\xc0"

_pack = msgpack.Packer(strict_types=True).pack
"""One for all: exact types and no hook, so no Python code can run, and nothing interleave, while it packs."""


def bind(form: Any, codec: str, limits: Limits) -> tuple[int, Encode, Decode, PackMany | None]:
    """The wire id of a type, its encode and decode, and how many are encoded at once."""
    bound = Bound(form, codec, limits)
    if bound.wire_id == JSON:
        return JSON, _json_encoder(bound), _decoder(bound), None
    if form is None or form is type(None):
        return MSGPACK, _none_encoder(bound), _decoder(bound), None
    return MSGPACK, _fastest_encoder(bound), _decoder(bound), _many_packer(bound)


def _many_packer(bound: Bound) -> PackMany | None:
    """For flat models: what they hold, in one call."""
    cls, pack = bound.cls, _pack
    kinds = flat_fields(bound.adapter.core_schema)
    if cls is None or kinds is None or "bytes" in kinds.values():
        return None
    usual, fields = {cls}, {len(kinds)}

    def pack_many(values: list[Any]) -> bytes | None:
        if {*map(type, values)} != usual:
            return None
        held = [value.__dict__ for value in values]
        if {*map(len, held)} != fields:
            return None
        try:
            return pack(held)
        except Exception:  # noqa: BLE001 - one by one it shows which
            return None

    return pack_many


def _none_encoder(bound: Bound) -> Encode:
    nothing = (_NIL, NO_BUFFERS)
    general = _general_encoder(bound)
    return lambda value: nothing if value is None else general(value)


def _fastest_encoder(bound: Bound) -> Encode:
    """The encoder with the fewest steps that is proven to do the same as the general one."""
    general, cls, pack = _general_encoder(bound), bound.cls, _pack
    kinds = flat_fields(bound.adapter.core_schema)
    if cls is not None and kinds is not None:
        if "bytes" in kinds.values():
            return _flat_bytes_encoder(bound, kinds, general)
        count = len(kinds)

        def encode_flat(value: Any) -> Encoded:
            if type(value) is cls:
                fields = value.__dict__
                if len(fields) == count:
                    try:
                        return pack(fields), NO_BUFFERS
                    except Exception:  # noqa: BLE001 - a field was assigned something else; the general way knows what to say
                        pass
            return general(value)

        return encode_flat
    if cls is not None and bound.proven_native:
        dump = bound.to_python

        def encode_nested(value: Any) -> Encoded:
            if type(value) is cls:
                try:
                    return pack(dump(value)), NO_BUFFERS
                except Exception:  # noqa: BLE001
                    pass
            return general(value)

        return encode_nested
    return general


def _flat_bytes_encoder(bound: Bound, kinds: dict[str, str], general: Encode) -> Encode:
    cls, count, pack, large = bound.cls, len(kinds), _pack, bound.limits.buffer
    holders = tuple(name for name, kind in kinds.items() if kind == "bytes")

    def encode_flat(value: Any) -> Encoded:
        if type(value) is cls:
            fields = value.__dict__
            if len(fields) == count:
                for name in holders:
                    held = fields.get(name)
                    if held is not None and (type(held) is not bytes or len(held) >= large):
                        return general(value)
                try:
                    return pack(fields), NO_BUFFERS
                except Exception:  # noqa: BLE001
                    pass
        return general(value)

    return encode_flat


def _general_encoder(bound: Bound) -> Encode:
    """Right for every type: pydantic dumps, large values are lifted out, what msgpack has no type for becomes text."""
    dump, limits = bound.to_python, bound.limits
    walks = bound.shape.opaque or bound.shape.binary or not bound.shape.text_keys
    hook = partial(plain, big_ints=not bound.shape.opaque)

    def encode(value: Any) -> Encoded:
        try:
            tree = bound.dumped(dump, value)
            buffers: Sequence[Buffer] = NO_BUFFERS
            if walks:
                lifter = Lifter(limits)
                tree = lifter.lift(tree)
                if lifter.buffers:
                    buffers = lifter.buffers
            return msgpack.Packer(default=hook).pack(tree), buffers
        except Exception as error:  # noqa: BLE001
            problem = _encode_error(error, bound)
        raise problem

    return encode


def _json_encoder(bound: Bound) -> Encode:
    dump, cls, secret = bound.to_json, bound.cls, bound.shape.secret

    def encode(value: Any) -> Encoded:
        try:
            text = dump(value) if type(value) is cls else bound.dumped(dump, value)
            if secret and b'"**********"' in text:
                raise TypeError(MASKED)
            if b"null" in text and holds_nan(bound.dumped(bound.to_python, value)):
                raise TypeError("JSON has no NaN and no infinity: pydantic would write null")
            return text, NO_BUFFERS
        except Exception as error:  # noqa: BLE001
            problem = _encode_error(error, bound)
        raise problem

    return encode


def _encode_error(error: Exception, bound: Bound) -> TypeError:
    """Our caller's fault, so a `TypeError`: which type was expected, and why this value is not sent."""
    text = validation_text(error, bound.names) if isinstance(error, ValidationError) else _QUOTED.sub("", str(error))
    return TypeError(shorten(f"expected {bound.label}: {text}", bound.limits.error_text))


def _decoder(bound: Bound) -> Decode:
    """The decoder with the fewest checks that lets nothing through which the general one would refuse."""
    validate, general, unpackb, most = bound.validate, _general_decoder(bound), msgpack.unpackb, bound.limits.items
    shape = bound.shape
    if not shape.finite or not shape.text_keys or shape.binary or shape.opaque:
        return general
    if shape.ext_blind:

        def decode(wire_id: int, payload: Buffer, buffers: Sequence[Buffer] = NO_BUFFERS) -> Any:
            if wire_id != MSGPACK or buffers or len(payload) > most:
                return general(wire_id, payload, buffers)
            try:
                return validate(unpackb(payload))
            except Exception as error:  # noqa: BLE001
                problem = _decode_error(error, bound, payload, buffers)
            raise problem

        return decode

    def decode_without_ext(wire_id: int, payload: Buffer, buffers: Sequence[Buffer] = NO_BUFFERS) -> Any:
        if wire_id != MSGPACK or buffers or len(payload) > most:
            return general(wire_id, payload, buffers)
        try:
            return validate(unpackb(payload, ext_hook=refuse_ext))
        except Exception as error:  # noqa: BLE001
            problem = _decode_error(error, bound, payload, buffers)
        raise problem

    return decode_without_ext


def _decode_error(error: Exception, bound: Bound, payload: Buffer, buffers: Sequence[Buffer]) -> DecodeError:
    """To be raised outside the handler: pydantic's error, which quotes its input, must not hang on to it."""
    return decode_error(error, bound.label, [payload, *buffers], bound.limits, bound.names)


def _general_decoder(bound: Bound) -> Decode:
    """Right for every type and every body: each failure is a `DecodeError` that quotes nothing."""
    shape, limits = bound.shape, bound.limits
    holds_buffers = shape.binary or shape.opaque

    def decode(wire_id: int, payload: Buffer, buffers: Sequence[Buffer] = NO_BUFFERS) -> Any:
        try:
            if wire_id == MSGPACK and holds_buffers:
                taker = Taker(buffers)
                tree = unpack(payload, limits, finite=shape.finite, ext=taker.take, any_key=not shape.text_keys)
                taker.finish()
                return bound.validate(tree)
            if buffers:
                raise OverLimit(f"{len(buffers)} frames more than it can have")
            if wire_id == MSGPACK:
                tree = unpack(payload, limits, finite=shape.finite, ext=refuse_ext, any_key=not shape.text_keys)
                return bound.validate(tree)
            if wire_id == JSON:
                text = bytes(payload)
                check_json(text, limits, finite=shape.finite)
                return bound.validate_json(text)
            raise OverLimit(f"a body of codec {wire_id} cannot be one")
        except Exception as error:  # noqa: BLE001
            problem = _decode_error(error, bound, payload, buffers)
        raise problem

    return decode
