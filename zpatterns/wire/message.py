"""Our own protocol: the header frame of a typed body, and the batch form. Spec: docs/wire.md.

A typed body is ``[header] [payload] [buffer...]``. The header is four bytes of magic and version, then one small
msgpack array that starts with the kind. Headers repeat (same method, same budget), so both directions are cached by
value: a header costs a dictionary look-up on the hot path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgpack

from ..errors import DecodeError

Buffer = bytes | memoryview

MAGIC = b"\xc1zp"
"""0xC1 is never valid UTF-8 and never used by msgpack, so no plain body starts so by accident."""
VERSION = 1
PREFIX = MAGIC + bytes([VERSION])

REQUEST, PARTIAL, FINAL, ERROR, CANCEL, CREDIT, BATCH = 1, 2, 3, 4, 5, 6, 7

STREAM = 1
"""The request wants a stream: any number of PARTIAL, then FINAL."""
DEDUPE = 2
"""The server remembers the reply by request id, so that the request may be sent again."""
NOT_TAKEN = 4
"""An ERROR from before dispatch: no handler has seen the request."""
BATCHES = 8
"""The sender reads the batch form."""
IDEMPOTENT = 16
"""The request may run more than once (a broker may give it to another worker)."""

EMPTY_BODY = b"\xc0"
"""msgpack nil: the payload of a request without a body."""

_FLAGS = 31
_CACHED_HEADER = 256
_BUDGET_MAX = 2**53
_NO_MAP: Mapping[str, Any] = {}


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


Command = Request | Partial | Final | Error | Cancel | Credit | Batch


def _header(fields: Sequence[Any]) -> bytes:
    return PREFIX + msgpack.packb(fields)


@lru_cache(4096)
def _request(method: str, budget: int, attempt: int, codec: int, flags: int) -> bytes:
    return _header([REQUEST, method, budget, attempt, codec, flags])


def request(
    method: str, budget: int, attempt: int, codec: int, flags: int, extra: Mapping[str, Any] | None = None
) -> bytes:
    """The header of a request; ``extra`` holds ``headers``, ``credit``, ``deadline`` and ``incarnation``."""
    if extra:
        return _header([REQUEST, method, budget, attempt, codec, flags, dict(extra)])
    return _request(method, budget, attempt, codec, flags)


@lru_cache(4096)
def partial(sequence: int, codec: int, flags: int = 0) -> bytes:
    """The header of one part of a stream."""
    return _header([PARTIAL, sequence, codec, flags])


@lru_cache(1024)
def final(parts: int, codec: int, flags: int, incarnation: bytes) -> bytes:
    """The header of a reply, or of the end of a stream."""
    return _header([FINAL, parts, codec, flags, incarnation])


@lru_cache(256)
def error(status: int, flags: int, incarnation: bytes) -> bytes:
    """The header of an error."""
    return _header([ERROR, status, flags, incarnation])


CANCEL_HEADER = _header([CANCEL])


@lru_cache(256)
def credit(parts: int) -> bytes:
    """The header that grants ``parts`` more parts of a stream."""
    return _header([CREDIT, parts])


@lru_cache(4096)
def batch(count: int) -> bytes:
    """The header of a batch of ``count`` messages."""
    return _header([BATCH, count])


def encode_error(message: str, details: Mapping[str, Any], limit: int) -> bytes:
    """The payload of an ERROR, at most ``limit`` bytes: text is cut, details that do not fit are left out."""
    text = message.encode(errors="replace")
    try:
        payload: bytes = msgpack.packb([text.decode(), dict(details)])
    except (TypeError, ValueError, OverflowError, RecursionError):
        return encode_error(f"{message} (the details could not be sent)", {}, limit)
    if len(payload) <= limit:
        return payload
    if details:
        return encode_error(f"{message} (the details were over {limit} bytes)", {}, limit)
    return msgpack.packb([text[: max(0, limit - 16)].decode(errors="ignore"), {}])


def decode_error(payload: Buffer) -> tuple[str, dict[str, Any]]:
    """Message and details of an ERROR; a payload that is neither is reported as such, never raised."""
    try:
        message, details = msgpack.unpackb(payload, ext_hook=_refuse_ext, max_map_len=1024, max_array_len=1024)
    except Exception:  # noqa: BLE001  whatever a hostile payload does to the decoder, the status still counts
        return "(the error text did not decode)", {}
    if not isinstance(message, str) or not isinstance(details, dict):
        return "(the error text did not decode)", {}
    return message, details


def encode_batch(items: Sequence[bytes]) -> bytes:
    """The payload of a BATCH from a flat list ``[id, header, payload, ...]``."""
    return msgpack.packb(items)


def decode_batch(command: Command, payload: Buffer) -> list[bytes]:
    """The flat list of a BATCH; raises DecodeError unless it is whole and of bytes only."""
    if type(command) is not Batch:
        raise DecodeError("only a batch has no request id before the delimiter", frames=[payload])
    try:
        items: list[bytes] = msgpack.unpackb(payload, ext_hook=_refuse_ext, max_array_len=3 * command.count)
    except Exception as cause:
        raise DecodeError("a batch that is not a msgpack array", frames=[payload]) from cause
    if type(items) is not list or len(items) != 3 * command.count or {*map(type, items)} != {bytes}:
        raise DecodeError("a batch must be an array of id, header and payload bytes", frames=[payload])
    return items


def is_typed(frame: Buffer) -> bool:
    """Whether a body that starts with this frame is one of ours."""
    return frame[:3] == MAGIC


_parsed: dict[bytes, Command] = {}


def parse(header: Buffer) -> Command:
    """The command in a header frame; raises DecodeError for anything else."""
    if type(header) is not bytes:
        header = bytes(header)
    command = _parsed.get(header)
    if command is None:
        command = _parse(header)
        if len(header) <= _CACHED_HEADER:
            if len(_parsed) >= 4096:  # a peer that sends ever new headers must not grow this
                _parsed.clear()
            _parsed[header] = command
    return command


def _parse(header: bytes) -> Command:
    if header[:3] != MAGIC:
        raise DecodeError("not a zpatterns header", frames=[header])
    if header[3:4] != PREFIX[3:]:
        raise DecodeError(
            f"header version {header[3] if len(header) > 3 else 'missing'}; this release speaks version {VERSION}",
            frames=[header],
        )
    try:
        fields = msgpack.unpackb(header[4:], ext_hook=_refuse_ext, max_array_len=64, max_map_len=64)
    except Exception as cause:
        raise DecodeError("a header that is not msgpack", frames=[header]) from cause
    if isinstance(fields, list) and fields and type(fields[0]) is int:
        command = _command(fields)
        if command is not None:
            return command
    raise DecodeError("a header with a wrong shape", frames=[header])


def _command(fields: list[Any]) -> Command | None:
    """One rule per kind: number and type of the fields. Anything else is None."""
    kinds = [type(field) for field in fields[1:]]
    small = all(type(field) is not int or 0 <= field < _BUDGET_MAX for field in fields)
    flags_ok = True
    command: Command | None = None
    match fields[0], kinds:
        case 1, [str_, int_, int__, int___, int____, *rest] if (
            str_ is str and {int_, int__, int___, int____} == {int} and rest in ([], [dict])
        ):
            extra = fields[6] if rest else _NO_MAP
            flags_ok = fields[5] <= _FLAGS and _extra_fits(extra)
            command = Request(*fields[1:6], extra)
        case 2, [int_, int__, int___] if {int_, int__, int___} == {int}:
            flags_ok = fields[3] <= _FLAGS
            command = Partial(*fields[1:])
        case 3, [int_, int__, int___, bytes_] if {int_, int__, int___} == {int} and bytes_ is bytes:
            flags_ok = fields[3] <= _FLAGS
            command = Final(*fields[1:])
        case 4, [int_, int__, bytes_] if {int_, int__} == {int} and bytes_ is bytes:
            flags_ok = fields[2] <= _FLAGS and 1 <= fields[1] <= 16
            command = Error(*fields[1:])
        case 5, []:
            command = Cancel()
        case 6, [int_] if int_ is int:
            command = Credit(fields[1])
        case 7, [int_] if int_ is int:
            command = Batch(fields[1])
        case _:
            pass
    return command if small and flags_ok else None


def _extra_fits(extra: dict[Any, Any]) -> bool:
    """Known keys have known types; unknown keys are left for later versions."""
    rules = {"credit": int, "deadline": int, "incarnation": bytes, "headers": dict}
    for key, value in extra.items():
        if type(key) is not str or (key in rules and type(value) is not rules[key]):
            return False
    headers = extra.get("headers", {})
    numbers = (extra.get("credit", 0), extra.get("deadline", 0))
    return all(type(k) is str and type(v) is str for k, v in headers.items()) and min(numbers) >= 0


def _refuse_ext(code: int, _data: bytes) -> Any:
    raise ValueError(f"ext type {code}")
