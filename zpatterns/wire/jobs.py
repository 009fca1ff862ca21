"""The pipeline on the wire: what a ventilator and its workers say to each other, and the items of PUSH and PULL.

The header frame is that of ``message.py``, with kinds of its own. Jobs and results of one turn travel as one message,
``[header] [ids] [payload]``, whose payload is an array of all of theirs, so that whoever reads it decodes it at once; one
that is large, or has buffers, travels alone. Spec: docs/wire.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeAlias

import msgpack

from ..codec import MSGPACK
from ..codec.bounds import refuse_ext
from ..errors import DecodeError
from . import message as w
from .message import Buffer, Rule

READY: int = 32
LEAVE: int = 33
HEARTBEAT: int = 34
WHO: int = 35
STOP: int = 36
JOBS: int = 37
RESULTS: int = 38
FAILED: int = 39
RETURN: int = 40
ITEM: int = 41
ITEMS: int = 42

ALONE: int = 8192
"""Bytes of a payload that travels alone: copying it into an array would cost more than a message."""
CHUNK_BYTES: int = 65_536
"""A message with so many bytes of payloads is complete."""
CHUNK: int = 256
"""Jobs or results in one message, as we write it. With 64, waking up for each costs more than its place in the cache gains."""
ITEMS_MAX: int = 256
"""Items in one message, as we write it."""
CHUNK_MAX: int = 1024
"""... and as we read it."""
PAYLOAD_MAX: int = 262_144
"""Bytes of such an array: with one more payload than ``CHUNK_BYTES`` it is still below."""
STAGES_MAX: int = 64
"""Stages of one worker."""
CREDIT_MAX: int = 65_536

_CACHED_HEADER = 256
_CACHED_HEADERS = 4096
_class: Callable[[Any], Any] = type


@dataclass(frozen=True, slots=True)
class Ready:
    """Worker: here I am; ``stages`` maps what I can do to how many jobs of it I may hold at once (my credit)."""

    incarnation: bytes
    stages: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Leave:
    """Worker: no more jobs; I finish those I have."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Either side: alive. A worker says how many handlers it runs."""

    running: int


@dataclass(frozen=True, slots=True)
class Who:
    """Ventilator: I do not know you; say READY."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Ventilator: there is no more work; finish what you have, and end."""


@dataclass(frozen=True, slots=True)
class Jobs:
    """Ventilator: ``count`` jobs of one stage. ``budget``: milliseconds after which they go to another worker."""

    stage: str
    codec: int
    attempt: int
    budget: int
    count: int


@dataclass(frozen=True, slots=True)
class Results:
    """Worker: ``count`` jobs are done. Each is an acknowledgement, and gives the credit of its job back."""

    codec: int
    count: int


@dataclass(frozen=True, slots=True)
class Failed:
    """Worker: the handler of this job raised; the payload is that of an ERROR."""

    id: int
    status: int


@dataclass(frozen=True, slots=True)
class Return:
    """Worker: give these jobs to somebody else. ``started``: 1 if a handler has seen them and did not end in time."""

    started: int
    count: int


@dataclass(frozen=True, slots=True)
class Item:
    """PUSH: one typed item."""

    codec: int


@dataclass(frozen=True, slots=True)
class Items:
    """PUSH: several typed items in one message."""

    codec: int
    count: int


Command: TypeAlias = Ready | Leave | Heartbeat | Who | Stop | Jobs | Results | Failed | Return | Item | Items

# -- encoding -----------------------------------------------------------------------------------------------------------


def _header(*fields: Any) -> bytes:
    return w.PREFIX + msgpack.packb(fields)


def ready(incarnation: bytes, stages: Mapping[str, int]) -> bytes:
    """The header of a worker's greeting."""
    return _header(READY, incarnation, dict(stages))


LEAVE_HEADER: bytes = _header(LEAVE)
WHO_HEADER: bytes = _header(WHO)
STOP_HEADER: bytes = _header(STOP)


@lru_cache(1024)
def heartbeat(running: int) -> bytes:
    """The header of a sign of life."""
    return _header(HEARTBEAT, running)


@lru_cache(4096)
def jobs(stage: str, codec: int, attempt: int, budget: int, count: int) -> bytes:
    """The header of jobs."""
    return _header(JOBS, stage, codec, attempt, budget, count)


@lru_cache(1024)
def results(codec: int, count: int) -> bytes:
    """The header of results."""
    return _header(RESULTS, codec, count)


def failed(job_id: int, status: int) -> bytes:
    """The header of a failure."""
    return _header(FAILED, job_id, status)


def returned(started: int, ids: Sequence[int]) -> tuple[bytes, bytes]:
    """Header and payload of jobs that a worker gives back."""
    return _header(RETURN, started, len(ids)), msgpack.packb(ids)


@lru_cache(16)
def item(codec: int) -> bytes:
    """The header of one item."""
    return _header(ITEM, codec)


@lru_cache(1024)
def items(codec: int, count: int) -> bytes:
    """The header of several items."""
    return _header(ITEMS, codec, count)


encode_array: Callable[[Sequence[int] | Sequence[bytes]], bytes] = msgpack.packb
"""Of ids, or of payloads that are no msgpack."""


def encode_items(codec: int, payloads: Sequence[bytes]) -> bytes:
    """The payload of several: msgpack values follow each other in an array of theirs, what else there is goes as bins."""
    if codec != MSGPACK:
        return encode_array(payloads)
    count = len(payloads)
    head = bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
    return head + b"".join(payloads)


def chunks(ids: list[int], payloads: list[bytes]) -> Iterator[tuple[list[int], list[bytes]]]:
    """Cut them into messages that are not too large."""
    if len(ids) <= CHUNK and sum(map(len, payloads)) <= CHUNK_BYTES:
        yield ids, payloads
        return
    at = size = 0
    for end, payload in enumerate(payloads, 1):
        size += len(payload)
        if size >= CHUNK_BYTES or end - at >= CHUNK or end == len(ids):
            yield ids[at:end], payloads[at:end]
            at, size = end, 0


# -- decoding -----------------------------------------------------------------------------------------------------------


def decode_array(count: int, payload: Buffer) -> list[bytes]:
    """The array of ``count`` bins."""
    return _array(count, payload, bytes)


def decode_ids(count: int, payload: Buffer) -> list[int]:
    """The ids of jobs, of results or in a RETURN."""
    return _array(count, payload, int)


def _array(count: int, payload: Buffer, kind: type[Any]) -> list[Any]:
    try:
        if len(payload) > PAYLOAD_MAX:
            raise ValueError("too long")
        values: list[Any] = msgpack.unpackb(payload, ext_hook=refuse_ext, max_array_len=count, max_map_len=0)
    except Exception as cause:
        raise DecodeError(f"a payload that is not a msgpack array of {count}", frames=[payload]) from cause
    if _class(values) is not list or len(values) != count or {*map(type, values)} != {kind}:
        raise DecodeError(f"a payload that is not a msgpack array of {kind.__name__}", frames=[payload])
    return values


def split(codec: int, count: int, payload: Buffer) -> list[bytes]:
    """The payloads of several, each for itself, not decoded."""
    if codec != MSGPACK:
        return decode_array(count, payload)
    whole = bytes(payload)
    try:
        unpacker = msgpack.Unpacker(max_buffer_size=len(whole))
        unpacker.feed(whole)
        marks: list[int] = []
        if unpacker.read_array_header() == count:
            marks.append(unpacker.tell())
            for _ in range(count):
                unpacker.skip()
                marks.append(unpacker.tell())
    except Exception as cause:
        raise DecodeError(f"a payload that is not a msgpack array of {count}", frames=[payload]) from cause
    if not marks or marks[-1] != len(whole):
        raise DecodeError(f"a payload that is not a msgpack array of {count}", frames=[payload])
    return [whole[start:stop] for start, stop in pairwise(marks)]


def check_one(payload: Buffer) -> None:
    """Raises DecodeError for a payload that is not one msgpack value. One that travels alone in any case is not looked at."""
    if len(payload) <= ALONE:
        split(MSGPACK, 1, b"\x91" + payload)


def opened(command: Jobs | Results, rest: Sequence[Buffer]) -> tuple[list[int], Buffer, Sequence[Buffer]]:
    """Ids, payload and buffers, from the frames behind the header. The payload of several is an array of theirs."""
    if len(rest) < 2 or (command.count > 1 and (len(rest) > 2 or len(rest[1]) > PAYLOAD_MAX)):
        raise DecodeError("jobs and results are ids and an array, or one alone: id, payload and buffers", frames=rest)
    return decode_ids(command.count, rest[0]), rest[1], rest[2:]


_parsed: dict[bytes, Command] = {}


def parse(header: Buffer) -> Command:
    """The command in a header frame; raises DecodeError for anything else."""
    if type(header) is not bytes:
        header = bytes(header[: w.HEADER_MAX + 1])
    command = _parsed.get(header)
    if command is None:
        command = _parse(header)
        if len(header) <= _CACHED_HEADER:
            if len(_parsed) >= _CACHED_HEADERS:  # a peer that sends ever new headers must not grow this
                _parsed.clear()
            _parsed[header] = command
    return command


def _parse(header: bytes) -> Command:
    fields = w.header_fields(header)
    if _class(fields) is list and fields and _class(fields[0]) is int and fields[0] in _KINDS:
        make, rules = _KINDS[fields.pop(0)]
        if len(fields) == len(rules) and all(rule(field) for rule, field in zip(rules, fields, strict=True)):
            return make(*fields)
    raise DecodeError("a header with a wrong shape", frames=[header])


# -- what each field of a header may be -----------------------------------------------------------------------------------


def _count(field: Any) -> bool:
    return _class(field) is int and 1 <= field <= CHUNK_MAX


def _bit(field: Any) -> bool:
    return _class(field) is int and 0 <= field <= 1


def _stages(field: Any) -> bool:
    return (
        _class(field) is dict
        and 1 <= len(field) <= STAGES_MAX
        and all(_class(name) is str and _class(credit) is int for name, credit in field.items())
        and all(1 <= credit <= CREDIT_MAX for credit in field.values())
    )


_KINDS: dict[int, tuple[Callable[..., Command], tuple[Rule, ...]]] = {
    READY: (Ready, (w._incarnation, _stages)),
    LEAVE: (Leave, ()),
    HEARTBEAT: (Heartbeat, (w._number,)),
    WHO: (Who, ()),
    STOP: (Stop, ()),
    JOBS: (Jobs, (w._text, w._number, w._number, w._number, _count)),
    RESULTS: (Results, (w._number, _count)),
    FAILED: (Failed, (w._number, w._status)),
    RETURN: (Return, (_bit, _count)),
    ITEM: (Item, (w._number,)),
    ITEMS: (Items, (w._number, _count)),
}
"""Kind -> its command, and a rule for each field, in the order of the wire."""
