"""Peers that lie: what they send is counted, ends nothing, grows nothing, and speaks for nobody else."""

from __future__ import annotations

from typing import Any

import pytest
import zmq

import zpatterns
from zpatterns import DecodeError
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
