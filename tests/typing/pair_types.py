"""What goes in and what comes out of a pair, for mypy --strict and pyright strict. Checked, never run.

A line with an ``ignore`` is an error that both checkers must find: an unneeded ignore is an error itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_type

from pydantic import BaseModel

import zpatterns as zp
import zpatterns.asyncio as zpa


class Job(BaseModel):
    number: int


class Result(BaseModel):
    text: str


def blocking() -> None:
    assert_type(zp.Pair.inproc(Job), tuple[zp.Pair[Job, Job], zp.Pair[Job, Job]])
    left, right = zp.Pair.inproc(Job, Result)
    assert_type(left, zp.Pair[Job, Result])
    assert_type(right, zp.Pair[Result, Job])
    left.send(Job(number=1))
    assert_type(left.receive(), Result)
    for job in right:
        assert_type(job, Job)
    assert_type(zp.Pair.bind("inproc://a", int | str), zp.Pair[int | str, int | str])
    with zp.Pair.connect("inproc://a", send=Result, receive=list[Job], timeout=1.0) as pair:
        assert_type(pair, zp.Pair[Result, list[Job]])
        assert_type(pair.receive(timeout=1.0), list[Job])
        assert_type(pair.statistics, zp.PairStatistics)
    assert_type(zp.Pair.bind("inproc://b", plain=True), zp.Pair[bytes | Sequence[bytes], list[bytes]])

    left.send(Result(text="x"))  # type: ignore[arg-type]
    zp.Pair.inproc(Job, Result, Job)  # type: ignore[call-overload]
    zp.Pair.bind("inproc://a")  # type: ignore[call-overload]
    zp.Pair.bind("inproc://a", send=Job)  # type: ignore[call-overload]
    zp.Pair.bind("inproc://a", Job, plain=True)  # type: ignore[call-overload]


async def awaited() -> None:
    left, right = zpa.Pair.inproc(Job, Result)
    assert_type(left, zpa.Pair[Job, Result])
    await right.send(Result(text="x"))
    assert_type(await left.receive(), Result)
    async for job in right:
        assert_type(job, Job)
    async with zpa.Pair.bind("inproc://a", Job) as pair:
        assert_type(pair, zpa.Pair[Job, Job])
    await left.send(Result(text="x"))  # type: ignore[arg-type]


def proxies() -> None:
    with zp.Proxy.forwarder("inproc://a", "inproc://b") as proxy:
        assert_type(proxy, zp.Proxy)
        assert_type(proxy.statistics, zp.ProxyStatistics)
    assert_type(zpa.Proxy.queue("inproc://a", "inproc://b"), zpa.Proxy)
