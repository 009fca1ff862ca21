"""A socket that closes in the background: whoever stops waiting for it leaves nothing behind."""

from __future__ import annotations

import os

import zmq

from zpatterns.drive.monitor import Parting

from ..worlds import until


def test_those_who_left_do_not_hold_up_the_thread_that_closes() -> None:
    """libzmq closes all sockets of a context in one thread: when that waits for us, none is closed any more."""
    with zmq.Context() as context:
        context.socket(zmq.PUSH).close(0)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(200):
            closing = context.socket(zmq.PUSH)
            closing.connect("tcp://127.0.0.1:1")
            Parting(context, closing, 0.0).leave()
        until(lambda: len(os.listdir("/proc/self/fd")) <= before, "descriptors stay open")
