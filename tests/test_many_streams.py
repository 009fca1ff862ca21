"""More parts of streams at once than sockets and queues hold: the handlers wait, and no part is lost."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from zpatterns import StreamMethod

from .worlds import LIMIT, Awaiting, in_threads

PARTS = StreamMethod("many.parts", int, bytes)
STREAMS, EACH = 48, 64
"""At 9000 bytes a part is a message of its own: 3072 of them, and a socket and a peer's queue hold 2000."""


def parts(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield bytes(9000)


async def parts_async(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(9000)


@pytest.mark.parametrize("inline", [True, False])
def test_no_part_is_lost_however_many_go_out_at_once(world: Any, inline: bool) -> None:
    server = world.Server("tcp://127.0.0.1:*", threads=STREAMS)
    server.stream(PARTS, inline=inline)(parts)
    all_arrive(world, server)


def test_no_part_is_lost_of_async_def() -> None:
    world = Awaiting()
    server = world.Server("tcp://127.0.0.1:*")
    server.stream(PARTS)(parts_async)
    all_arrive(world, server)
    world.shut()


def all_arrive(world: Any, server: Any) -> None:
    with world.serving(server), world.client(server.endpoint, timeout=LIMIT) as client:
        assert in_threads(STREAMS, lambda _: count(client)) == [EACH] * STREAMS
    assert not server.statistics.dropped


def count(client: Any) -> int:
    with contextlib.closing(client.stream(PARTS, EACH)) as stream:
        return sum(1 for _ in stream)


def test_a_reader_that_goes_away_ends_a_stream_whose_parts_wait_for_room(world: Any) -> None:
    server = world.Server("tcp://127.0.0.1:*", threads=STREAMS)
    ended = []

    @server.stream(PARTS)
    def closed(number: int) -> Iterator[bytes]:
        try:
            yield from parts(number)
        finally:
            ended.append(number)

    with world.serving(server), world.client(server.endpoint, timeout=LIMIT) as client:
        streams = [client.stream(PARTS, EACH) for _ in range(STREAMS)]
        for stream in streams:
            stream.close()
        with contextlib.closing(client.stream(PARTS, 3)) as few:
            assert sum(1 for _ in few) == 3
    assert len(ended) >= 1
    assert not server._replier.machine.running
