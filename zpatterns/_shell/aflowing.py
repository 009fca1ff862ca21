"""What an asyncio ``Push`` is given at once, cut into messages, in the order of the items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from ..drive.aflows import AsyncOutflow
from ..wire.jobs import ALONE, CHUNK_BYTES, ITEMS_MAX
from .flowing import Settings

Portion = tuple[Callable[..., None], tuple[Any, ...]]
"""How to put it, and what."""


def portions(settings: Settings, flow: AsyncOutflow, items: Iterable[Any]) -> Iterator[Portion]:
    """When ``items`` raises, or one of them is of a wrong type, those before it come first.

    Raises what ``items`` raises, TypeError and MessageTooLarge.
    """
    if not settings.packs:
        yield from _one_by_one(settings, flow, items)
        return
    rest = iter(items)
    full = min(settings.batch, ITEMS_MAX)
    while True:
        chunk: list[Any] = []
        try:
            chunk.extend(islice(rest, full))
        except Exception:
            yield from _packed(settings, flow, chunk)
            raise
        if not chunk:
            return
        yield from _packed(settings, flow, chunk)


def _packed(settings: Settings, flow: AsyncOutflow, chunk: list[Any]) -> Iterator[Portion]:
    payload = settings.packed(chunk) if chunk else None
    if payload is not None:
        yield flow.put_list, (payload, len(chunk))
    else:
        yield from _one_by_one(settings, flow, chunk)


def _one_by_one(settings: Settings, flow: AsyncOutflow, items: Iterable[Any]) -> Iterator[Portion]:
    encode, codec, bare = settings.codec.encode, settings.codec.wire_id, settings.bare
    full = min(settings.batch, ITEMS_MAX)
    small: list[bytes] = []
    size = 0
    try:
        for item in items:
            payload, buffers = encode(item)
            if not bare and not buffers and len(payload) <= ALONE:
                small.append(payload)
                size += len(payload)
                if len(small) >= full or size >= CHUNK_BYTES:
                    whole, small, size = small, [], 0
                    yield flow.put_many, (codec, whole)
                continue
            settings.check_size(payload, buffers)
            if bare:
                yield flow.put_bare, ((buffers[0] if buffers else payload,),)
                continue
            if small:
                whole, small, size = small, [], 0
                yield flow.put_many, (codec, whole)
            yield flow.put, (codec, payload, buffers)
    except Exception:
        if small:
            yield flow.put_many, (codec, small)
        raise
    if small:
        yield flow.put_many, (codec, small)
