"""Peers that lie: what they send is counted, ends nothing, grows nothing, and speaks for nobody else."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
import zmq

import zpatterns
from zpatterns import DecodeError
from zpatterns._shell.delivery import opened
from zpatterns.core.gaps import Line
from zpatterns.core.intake import Chunk, Intake, Route
from zpatterns.wire import pair as p

from .worlds import LIMIT, until


def test_a_codec_that_means_none_is_decoded_all_the_same() -> None:
    """0 stands for bare frames inside; on the wire it is a codec nobody has."""
    with zpatterns.Pair.bind("tcp://127.0.0.1:*", int) as pair, zmq.Context() as context:
        bare: Any = context.socket(zmq.PAIR)
        with bare:
            bare.linger = 0
            bare.connect(pair.endpoint)
            bare.send_multipart(p.hello(b"liar", 0, b""))
            bare.send_multipart([p.item(0), b"raw", b"frames"])
            with pytest.raises(DecodeError):
                pair.receive(timeout=LIMIT)
            until(lambda: pair.connected)


@pytest.mark.parametrize(("codec", "payload"), [(1, b"\xdd\x00\x40\x00\x00" + b"\x90" * 2**22), (3, b"\x90" * 2**22)])
def test_an_array_of_bodies_that_would_grow_is_not_opened(codec: int, payload: bytes) -> None:
    line = Line(b"count\0", b"12345678", 1)
    chunk = Chunk(
        Route(line, Intake(10, zpatterns.Overflow.DROP_OLDEST, None), zpatterns.Topic("count", int)),
        1, 4, codec, payload, (), 1.0,
    )  # fmt: skip
    tracemalloc.start()
    messages = list(opened(chunk, 0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(messages) == 4
    assert peak < 2 * len(payload) + 2**20
    for message in messages:
        with pytest.raises(DecodeError):
            message.body
