"""Frames of a call, and the batch form: what one tick sends to one port travels as one message.

A batch costs one send and one receive for many calls (2x at 64 in flight); a lone call is never delayed for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from math import ceil

from ..wire import message as w
from .calls import EMPTY, ID, Call
from .machine import Frames

BATCH_ITEM = 8192
"""Larger payloads travel alone: copying them into a batch would cost more than a message."""
BATCH_BYTES = 65_536
"""A batch with so many bytes is complete: with one more item of any size it stays below ``BATCH_MAX`` of the wire."""
BATCH_COUNT = 256


def header(call: Call, now: float, credit: int) -> bytes:
    """The request header: what is left of the budget goes with it, rounded up to milliseconds."""
    extra = call.extra
    left = call.deadline - now
    if extra is None and not call.stream and not call.incarnation:
        budget = ceil(left * 1000) if left > 0 else 1
        return w.bare_request(call.method or "", budget, call.attempt, call.codec, call.flags)
    if call.stream:
        extra = {**(extra or {}), "credit": credit, "deadline": max(1, ceil(left * 1000))}
        left = min(left, call.quiet_at - now)
    if call.incarnation:
        extra = {**(extra or {}), "incarnation": call.incarnation}
    return w.request(call.method or "", max(1, ceil(left * 1000)), call.attempt, call.codec, call.flags, extra)


def frames(call: Call, now: float, credit: int) -> Frames:
    """One call as a message of its own."""
    if call.method is not None:
        if call.buffers:
            return (call.id, b"", header(call, now, credit), call.payload, *call.buffers)
        return (call.id, b"", header(call, now, credit), call.payload)
    body = (call.payload, *call.buffers)
    if call.bare == ID:
        return (call.id, b"", *body)
    return (b"", *body) if call.bare == EMPTY else body


def cancel(call: Call) -> Frames:
    """Tell a server that nobody waits any more."""
    return (call.id, b"", w.CANCEL_HEADER, b"")


def batches(items: Sequence[tuple[bytes, bytes, bytes]]) -> Iterator[tuple[int, Frames]]:
    """Pack ``(id, header, payload)`` items; yields how many items each message carries, and its frames."""
    flat = [*chain.from_iterable(items)]
    if 0 < len(items) <= BATCH_COUNT and sum(map(len, flat)) <= BATCH_BYTES:  # the usual case
        yield _message(flat)
        return
    chunk: list[bytes] = []
    size = 0
    for item in items:
        chunk += item
        size += len(item[1]) + len(item[2])
        if size >= BATCH_BYTES or len(chunk) >= 3 * BATCH_COUNT:
            yield _message(chunk)
            chunk, size = [], 0
    if chunk:
        yield _message(chunk)


def _message(chunk: list[bytes]) -> tuple[int, Frames]:
    count = len(chunk) // 3
    if count == 1:
        return 1, (chunk[0], b"", chunk[1], chunk[2])
    return count, (b"", w.batch(count), w.encode_batch(chunk))
