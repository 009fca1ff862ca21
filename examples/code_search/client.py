"""The two clients of the demo: a loop for each of many threads, and the same with ``await`` for many tasks at once.

Nothing here knows that the server will be killed. The one thing left to us is a stream that breaks off in the middle:
parts of it may have been used, so the library tells us instead of opening it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from ledger import Call, Ledger
from questions import Question

import zpatterns.asyncio
from zpatterns import OutcomeUnknown, RequestClient, StreamMethod

BUDGET = 10.0
"""Seconds a call may take, retries and the death of a server included."""


def ask(client: RequestClient, questions: Iterator[Question], ledger: Ledger) -> None:
    """What each thread does."""
    for question in questions:
        with ledger.call(question, BUDGET) as call:
            if isinstance(question.method, StreamMethod):
                call.answer = read_stream(client, question.method, call)
            else:
                call.answer = client.request(question.method, question.body)


def read_stream(client: RequestClient, method: StreamMethod[Any, Any], call: Call) -> list[Any]:
    while True:
        try:
            with client.stream(method, call.question.body, deadline=call.left) as parts:
                return list(parts)
        except OutcomeUnknown:
            call.reopened += 1


async def ask_async(
    client: zpatterns.asyncio.RequestClient, questions: Iterator[Question], ledger: Ledger, tasks: int
) -> None:
    """What the event loop does, so many at a time."""

    async def task() -> None:
        for question in questions:
            with ledger.call(question, BUDGET) as call:
                if isinstance(question.method, StreamMethod):
                    call.answer = await read_stream_async(client, question.method, call)
                else:
                    call.answer = await client.request(question.method, question.body)

    async with client:
        await asyncio.gather(*(task() for _ in range(tasks)))


async def read_stream_async(
    client: zpatterns.asyncio.RequestClient, method: StreamMethod[Any, Any], call: Call
) -> list[Any]:
    while True:
        try:
            async with client.stream(method, call.question.body, deadline=call.left) as parts:
                return [part async for part in parts]
        except OutcomeUnknown:
            call.reopened += 1
