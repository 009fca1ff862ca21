"""``HandlerWork`` for handlers that are coroutines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ..core.jobs import Job
from .answering import Answer, Failure, arguments, encoded, failure_of, plain_frames
from .work import HandlerWork


class AsyncHandlerWork(HandlerWork):
    """Adds ``async def``. Of what a handler raises only CancelledError gets out."""

    def is_async(self, job: Job) -> bool:
        """Whether the handler of this job is ``async def``."""
        return self.handlers[job.method].is_async

    async def answer_async(self, job: Job) -> Any:
        """Run a unary coroutine."""
        handler = self.handlers[job.method]
        try:
            value = await handler.function(*arguments(handler, job))
            if handler.name is None:
                return plain_frames(value)
            return encoded(handler.reply, value, self.limits)
        except (Exception, SystemExit) as error:
            return failure_of(error, handler, self.mapping)

    async def parts_async(self, job: Job) -> AsyncIterator[Answer | Failure]:
        """Run an async generator; closing this one closes the handler's."""
        handler = self.handlers[job.method]
        try:
            values: Any = handler.function(*arguments(handler, job))
            try:
                async for value in values:
                    yield encoded(handler.reply, value, self.limits)
            finally:
                await values.aclose()
        except (Exception, SystemExit) as error:
            yield failure_of(error, handler, self.mapping)
