"""The two clients of the demo: a loop for each of many threads, and the same with ``await`` for many tasks at once.

Nothing here knows that the server will be killed. The one thing left to us is a stream that breaks off in the middle:
parts of it may have been used, so the library tells us instead of opening it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from time import perf_counter
from typing import Any

from contracts import SERVICE_OF, SERVICES
from ledger import Call, Ledger
from questions import Question

import zpatterns.asyncio
from zpatterns import OutcomeUnknown, RequestClient, StreamMethod

BUDGET = 10.0
"""Seconds a call may take, retries and the death of a server included."""


class Clients:
    """For each service a client of each world; all threads share the ones, all tasks the others."""

    def __init__(self, endpoint: str, *, broker: bool) -> None:
        self.connected_at = 0.0
        names = {service: service if broker else None for service in SERVICES}
        self.blocking = {
            service: RequestClient(endpoint, service=name, timeout=BUDGET, on_connection=self.hear)
            for service, name in names.items()
        }
        self.awaiting = {
            service: zpatterns.asyncio.RequestClient(endpoint, service=name, timeout=BUDGET)
            for service, name in names.items()
        }

    def hear(self, endpoint: str, up: bool) -> None:
        if up:
            self.connected_at = perf_counter()

    @property
    def retried(self) -> int:
        return sum(
            self.blocking[service].statistics.retried + self.awaiting[service].statistics.retried
            for service in SERVICES
        )


def ask(clients: dict[str, RequestClient], questions: Iterator[Question], ledger: Ledger) -> None:
    """What each thread does."""
    for question in questions:
        client = clients[SERVICE_OF[question.method.name]]
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
    clients: dict[str, zpatterns.asyncio.RequestClient], questions: Iterator[Question], ledger: Ledger, tasks: int
) -> None:
    """What the event loop does, so many at a time."""

    async def task() -> None:
        for question in questions:
            client = clients[SERVICE_OF[question.method.name]]
            with ledger.call(question, BUDGET) as call:
                if isinstance(question.method, StreamMethod):
                    call.answer = await read_stream_async(client, question.method, call)
                else:
                    call.answer = await client.request(question.method, question.body)

    async with AsyncExitStack() as stack:
        for client in clients.values():
            await stack.enter_async_context(client)
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
