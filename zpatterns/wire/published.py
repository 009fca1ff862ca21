"""What a publisher sends: typed messages, alone or several of one topic at once, heartbeats and echoes. Spec: docs/wire.md.

A typed message is ``[topic] [header + payload] [buffer...]``. The header is a fixed record, and all that a topic does not
change from message to message comes first in it, so a reader compares 14 bytes and reads three numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, TypeAlias

import msgpack

from ..codec.binding import JSON, MSGPACK, RAW
from ..codec.bounds import refuse_ext
from ..errors import DecodeError
from .message import MAGIC as MAGIC, PREFIX as PREFIX

Buffer: TypeAlias = bytes | memoryview

BUFFERS: int = 1
"""More frames follow: the buffers of the one body."""
START: int = 2
"""The sequence of this topic begins here: nothing came before that a subscriber could have missed."""

HEAD: int = 14
"""Bytes of magic, version, codec, flags and incarnation."""
_RECORD = Struct(f">{HEAD}sHQQ")
RECORD: int = _RECORD.size
"""Bytes before the payload: head, count (2), sequence (8), sent_at (8), big-endian."""
read: Callable[[Buffer], tuple[bytes, int, int, int]] = _RECORD.unpack_from
"""``(head, count, sequence, sent_at)``; raises struct.error where there are fewer bytes."""

BATCH_COUNT: int = 64
BATCH_BYTES: int = 65_536
"""What one message carries at most when several share it. Reading 64 at once is a tenth quicker than 256: they stay in the
processor's cache. The bytes are below ``Limits.items``, so that reading them needs no second look."""
JOINED: int = 4 * BATCH_COUNT + 8
"""Bytes that an array of so many adds at most."""
BATCHED_BYTES: int = 8192
"""Payloads from this size travel alone: sharing frames would save nothing."""
BATCH_COUNT_MAX: int = 1024
"""What a reader accepts."""

HEARTBEAT_TOPIC: bytes = PREFIX + b"H"
NONCE_TOPIC: bytes = PREFIX + b"N"
"""With 16 random bytes after it: who subscribes to this gets one echo, and knows that its earlier subscriptions are in place."""
NONCE_BYTES: int = 16
LONGEST_SUBSCRIPTION: int = 255
TABLE_COUNT: int = 1024
TABLE_BYTES: int = 65_536
"""What one table of last sequences holds at most."""
_CODECS = (MSGPACK, JSON, RAW)


@dataclass(frozen=True, slots=True)
class Head:
    """What a topic does not change from message to message."""

    codec: int
    flags: int
    incarnation: bytes


@dataclass(frozen=True, slots=True)
class Table:
    """Last sequences by topic. ``complete``: a topic that is not in it has not been published on."""

    last: dict[bytes, int]
    complete: bool


def head(codec: int, flags: int, incarnation: bytes) -> bytes:
    """The first 14 bytes of a message."""
    return PREFIX + bytes((codec, flags)) + incarnation


def parse_head(data: bytes) -> Head:
    """What they say; raises DecodeError for anything else."""
    if len(data) != HEAD or not data.startswith(PREFIX) or data[4] not in _CODECS or data[5] > (BUFFERS | START):
        raise DecodeError("not the header of a published message", frames=[data])
    return Head(data[4], data[5], data[6:])


def is_typed(frame: Buffer) -> bool:
    """Whether the second frame of a message is one of ours."""
    return frame[:3] == MAGIC


def record(head: bytes, count: int, sequence: int, sent_at: int) -> bytes:
    """The header: ``count`` bodies from ``sequence`` on, sent at so many microseconds of the publisher's own clock."""
    return _RECORD.pack(head, count, sequence, sent_at)


def join(codec: int, payloads: Sequence[Buffer]) -> bytes:
    """The payload of several bodies: one array of the codec, so that one call reads them all."""
    if codec == MSGPACK:
        count = len(payloads)
        start = bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
        return start + b"".join(payloads)
    if codec == JSON:
        return b"[" + b",".join(payloads) + b"]"
    return bytes(msgpack.packb(payloads))


def table(last: Sequence[tuple[bytes, int]], *, complete: bool) -> bytes:
    """The payload of a heartbeat or an echo: a flag, then topics and last sequences in turn."""
    flat: list[Any] = [int(complete)]
    for entry in last:
        flat += entry
    return bytes(msgpack.packb(flat))


def parse_table(payload: Buffer) -> Table:
    """Raises DecodeError for anything else."""
    try:
        if len(payload) > 2 * TABLE_BYTES:
            raise ValueError("too long")
        flat: list[Any] = msgpack.unpackb(
            payload, ext_hook=refuse_ext, max_array_len=2 * TABLE_COUNT + 1, max_map_len=0
        )
        topics, last = flat[1::2], flat[2::2]
        if (
            flat[0] not in (0, 1)
            or {*map(type, topics)} - {bytes}
            or {*map(type, last)} - {int}
            or len(topics) != len(last)
        ):
            raise ValueError("wrong shape")
        if last and not 1 <= min(last) <= max(last) < 2**62:
            raise ValueError("a sequence starts at 1, and ends somewhere")
        if topics and max(map(len, topics)) > LONGEST_SUBSCRIPTION:
            raise ValueError("a topic that is too long")
        return Table(dict(zip(topics, last, strict=True)), bool(flat[0]))
    except Exception as cause:
        raise DecodeError("not a table of last sequences", frames=[payload]) from cause
