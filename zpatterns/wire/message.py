"""Our own protocol: the header frame of a typed body, and the batch form. Spec: docs/wire.md.

A typed body is ``[header] [payload] [buffer...]``. The header is four bytes of magic and version, then one small
msgpack array that starts with the kind. Headers repeat (same method, same budget), so both directions are cached by
value: a header costs a dictionary look-up on the hot path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import msgpack

from ..codec.bounds import refuse_ext, unpack
from ..errors import DecodeError
from ..policy import Limits

Buffer: TypeAlias = bytes | memoryview

MAGIC: bytes = b"\xc1zp"
"""0xC1 is never valid UTF-8 and never used by msgpack, so no plain body starts so by accident."""
VERSION: int = 1
PREFIX: bytes = MAGIC + bytes([VERSION])

REQUEST: int = 1
PARTIAL: int = 2
FINAL: int = 3
ERROR: int = 4
CANCEL: int = 5
CREDIT: int = 6
BATCH: int = 7
CAPACITY: int = 8

STREAM: int = 1
"""The request wants a stream: any number of PARTIAL, then FINAL."""
DEDUPE: int = 2
"""The server remembers the reply by request id, so that the request may be sent again."""
NOT_TAKEN: int = 4
"""An ERROR from before dispatch: no handler has seen the request."""
BATCHES: int = 8
"""The sender reads the batch form, on this connection."""
IDEMPOTENT: int = 16
"""The request may run more than once (a broker may give it to another worker)."""
LOST: int = 32
"""An ERROR of a broker: a worker took the request and was lost before it answered."""

EMPTY_BODY: bytes = b"\xc0"
"""msgpack nil: the payload of a request without a body."""

ID_BYTES: int = 16
HEADER_MAX: int = 65_536
"""Bytes of a header: decoding one costs no more than a few megabytes, whatever is in it."""
ERROR_MAX: int = 65_536
"""Bytes of the payload of an ERROR, for the same reason."""
BATCH_MAX: int = 262_144
"""Bytes of the payload of a BATCH, for the same reason."""
BATCH_COUNT_MAX: int = 1024
CREDIT_MAX: int = 65_536
"""Parts of a stream that may be under way before the reader has taken them."""
ENTRIES_MAX: int = 64
"""Entries of a request's extra map, and of its headers."""

_NUMBER_MAX = 2**53 - 1  # the integers every language has
_FLAGS_MAX = 63
_STATUS_MAX = 16
_CACHED_HEADER = 256
_CACHED_HEADERS = 4096
_LIMITS = Limits()
_class: Callable[[Any], Any] = type  # does not narrow Any to a container of unknowns


@dataclass(frozen=True, slots=True)
class Request:
    """One call. ``budget`` is what is left of the caller's time, in milliseconds, rounded up."""

    method: str
    budget: int
    attempt: int
    codec: int
    flags: int
    extra: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Partial:
    """One part of a stream; ``sequence`` counts from 0, so a lost part shows."""

    sequence: int
    codec: int
    flags: int


@dataclass(frozen=True, slots=True)
class Final:
    """The reply of a request, or the end of a stream after ``parts`` parts (then the payload is empty)."""

    parts: int
    codec: int
    flags: int
    incarnation: bytes


@dataclass(frozen=True, slots=True)
class Error:
    """The call failed with a gRPC status; the payload is ``encode_error(message, details)``."""

    status: int
    flags: int
    incarnation: bytes


@dataclass(frozen=True, slots=True)
class Cancel:
    """The caller has gone: drop the request, or tell its handler."""


@dataclass(frozen=True, slots=True)
class Credit:
    """The reader of a stream took ``parts`` more parts; 0 is a sign of life."""

    parts: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Several messages of one tick in one payload: msgpack ``[id, header, payload, id, header, payload, ...]``."""

    count: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """A worker to its broker: how many requests it takes at once, and which incarnation it is. 0: it stops."""

    credit: int
    incarnation: bytes


Command: TypeAlias = Request | Partial | Final | Error | Cancel | Credit | Batch | Capacity

# -- encoding -----------------------------------------------------------------------------------------------------------


def _header(*fields: Any) -> bytes:
    return PREFIX + msgpack.packb(fields)


@lru_cache(4096)
def bare_request(method: str, budget: int, attempt: int, codec: int, flags: int) -> bytes:
    """The header of a request without ``extra``."""
    return _header(REQUEST, method, budget, attempt, codec, flags)


def request(
    method: str, budget: int, attempt: int, codec: int, flags: int, extra: Mapping[str, Any] | None = None
) -> bytes:
    """The header of a request; ``extra`` holds ``headers``, ``credit``, ``deadline`` and ``incarnation``."""
    if extra:
        return _header(REQUEST, method, budget, attempt, codec, flags, dict(extra))
    return bare_request(method, budget, attempt, codec, flags)


@lru_cache(4096)
def partial(sequence: int, codec: int, flags: int = 0) -> bytes:
    """The header of one part of a stream."""
    return _header(PARTIAL, sequence, codec, flags)


@lru_cache(1024)
def final(parts: int, codec: int, flags: int, incarnation: bytes) -> bytes:
    """The header of a reply, or of the end of a stream."""
    return _header(FINAL, parts, codec, flags, incarnation)


@lru_cache(256)
def error(status: int, flags: int, incarnation: bytes) -> bytes:
    """The header of an error."""
    return _header(ERROR, status, flags, incarnation)


CANCEL_HEADER: bytes = _header(CANCEL)


@lru_cache(256)
def credit(parts: int) -> bytes:
    """The header that grants ``parts`` more parts of a stream."""
    return _header(CREDIT, parts)


@lru_cache(BATCH_COUNT_MAX)
def batch(count: int) -> bytes:
    """The header of a batch of ``count`` messages."""
    return _header(BATCH, count)


def capacity(credit: int, incarnation: bytes) -> bytes:
    """The header by which a worker says how much it takes."""
    return _header(CAPACITY, credit, incarnation)


def encode_error(message: str, details: Mapping[str, Any], limit: int) -> bytes:
    """The payload of an ERROR, at most ``limit`` bytes: text is cut, details that do not fit are left out."""
    limit = min(limit, ERROR_MAX)
    text = message.encode(errors="replace")
    if details:
        try:
            payload = _error_payload(text, dict(details))
            if len(payload) <= limit:
                _read_error(payload)
                return payload
            why = f"were over {limit} bytes"
        except Exception:  # noqa: BLE001  what a handler puts in there must not cost the caller the error itself
            why = "could not be sent"
        return encode_error(f"{message} (the details {why})", {}, limit)
    return _error_payload(text[: max(0, limit - 8)], {})  # 8: as much as the rest can take


def _error_payload(text: bytes, details: dict[str, Any]) -> bytes:
    return msgpack.packb((text.decode(errors="ignore"), details))


def encode_batch(items: Sequence[bytes]) -> bytes:
    """The payload of a BATCH from a flat list ``[id, header, payload, ...]``."""
    return msgpack.packb(items)


# -- decoding -----------------------------------------------------------------------------------------------------------


def decode_error(payload: Buffer) -> tuple[str, dict[str, Any]]:
    """Message and details of an ERROR; a payload that is neither is reported as such, never raised."""
    try:
        return _read_error(payload)
    except Exception:  # noqa: BLE001  whatever a hostile payload does to the decoder, the status still counts
        return "(the error text did not decode)", {}


def _read_error(payload: Buffer) -> tuple[str, dict[str, Any]]:
    if len(payload) > ERROR_MAX:
        raise ValueError("too long")
    message, details = unpack(payload, _LIMITS, finite=False, ext=refuse_ext, any_key=False)
    if _class(message) is not str or _class(details) is not dict or {*map(type, details)} - {str}:
        raise ValueError("not [text, map]")
    return message, details


def decode_batch(command: Command, payload: Buffer) -> list[bytes]:
    """The flat list of a BATCH; raises DecodeError unless it is whole and of bytes only."""
    if type(command) is not Batch:
        raise DecodeError("only a batch has no request id before the delimiter", frames=[payload])
    fields = 3 * command.count
    try:
        if len(payload) > BATCH_MAX:
            raise ValueError("too long")
        items: list[bytes] = msgpack.unpackb(payload, ext_hook=refuse_ext, max_array_len=fields, max_map_len=0)
    except Exception as cause:
        raise DecodeError(f"a batch that is not a msgpack array of {fields}", frames=[payload]) from cause
    if (
        _class(items) is not list
        or len(items) != fields
        or {*map(type, items)} != {bytes}
        or {*map(len, items[::3])} != {ID_BYTES}
    ):
        raise DecodeError(f"a batch is an array of id ({ID_BYTES} bytes), header and payload", frames=[payload])
    return items


def is_typed(frame: Buffer) -> bool:
    """Whether a body that starts with this frame is one of ours."""
    return frame[:3] == MAGIC


parsed: dict[Any, Command] = {}
"""Headers that were read before, which most are: on the hot path, look here and ask ``parse`` for what is missing."""


def parse(header: Buffer) -> Command:
    """The command in a header frame; raises DecodeError for anything else."""
    if type(header) is not bytes:
        header = bytes(header[: HEADER_MAX + 1])
    command = parsed.get(header)
    if command is None:
        command = _parse(header)
        if len(header) <= _CACHED_HEADER:
            if len(parsed) >= _CACHED_HEADERS:  # a peer that sends ever new headers must not grow this
                parsed.clear()
            parsed[header] = command
    return command


def header_fields(header: bytes) -> Any:
    """What is behind magic and version, which are checked, decoded within limits; raises DecodeError."""
    if header[:3] != MAGIC:
        raise DecodeError("not a zpatterns header", frames=[header])
    if header[3:4] != PREFIX[3:]:
        raise DecodeError(
            f"header version {header[3] if len(header) > 3 else 'missing'}; this release speaks version {VERSION}",
            frames=[header],
        )
    if len(header) > HEADER_MAX:
        raise DecodeError(f"a header of more than {HEADER_MAX} bytes", frames=[header])
    try:
        return unpack(header[4:], _LIMITS, finite=False, ext=refuse_ext, any_key=False)
    except Exception as cause:
        raise DecodeError("a header that is not msgpack", frames=[header]) from cause


def _parse(header: bytes) -> Command:
    fields = header_fields(header)
    if _class(fields) is list and fields and _class(fields[0]) is int and fields[0] in _KINDS:
        make, rules = _KINDS[fields.pop(0)]
        if make is Request and len(fields) == len(rules) - 1:
            fields.append({})
        if len(fields) == len(rules) and all(rule(field) for rule, field in zip(rules, fields, strict=True)):
            if make is Request:  # what a later version has put in there is neither kept nor cached
                fields[-1] = {key: value for key, value in fields[-1].items() if key in _EXTRA}
            return make(*fields)
    raise DecodeError("a header with a wrong shape", frames=[header])


# -- what each field of a header may be -----------------------------------------------------------------------------------


def _number(field: Any) -> bool:
    return _class(field) is int and 0 <= field <= _NUMBER_MAX


def _flags(field: Any) -> bool:
    return _class(field) is int and 0 <= field <= _FLAGS_MAX


def _status(field: Any) -> bool:
    return _class(field) is int and 1 <= field <= _STATUS_MAX


def _count(field: Any) -> bool:
    return _class(field) is int and 1 <= field <= BATCH_COUNT_MAX


def _parts(field: Any) -> bool:
    return _class(field) is int and 0 <= field <= CREDIT_MAX


def _text(field: Any) -> bool:
    return _class(field) is str


def _incarnation(field: Any) -> bool:
    return _class(field) is bytes and 1 <= len(field) <= 32


def _headers(field: Any) -> bool:
    return (
        _class(field) is dict
        and len(field) <= ENTRIES_MAX
        and all(_text(name) and _text(value) for name, value in field.items())
    )


def _extra(field: Any) -> bool:
    """Known keys have their type; others belong to later versions."""
    return (
        _class(field) is dict
        and len(field) <= ENTRIES_MAX
        and all(_text(key) and _EXTRA.get(key, _anything)(value) for key, value in field.items())
    )


def _anything(field: Any) -> bool:
    return True


Rule: TypeAlias = Callable[[Any], bool]

_EXTRA: dict[str, Rule] = {"credit": _parts, "deadline": _number, "incarnation": _incarnation, "headers": _headers}
_KINDS: dict[int, tuple[Callable[..., Command], tuple[Rule, ...]]] = {
    REQUEST: (Request, (_text, _number, _number, _number, _flags, _extra)),
    PARTIAL: (Partial, (_number, _number, _flags)),
    FINAL: (Final, (_number, _number, _flags, _incarnation)),
    ERROR: (Error, (_status, _flags, _incarnation)),
    CANCEL: (Cancel, ()),
    CREDIT: (Credit, (_parts,)),
    BATCH: (Batch, (_count,)),
    CAPACITY: (Capacity, (_parts, _incarnation)),
}
"""Kind -> its command, and a rule for each field, in the order of the wire."""
