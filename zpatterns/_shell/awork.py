"""``HandlerWork`` for handlers that are coroutines: the parts before and after the coroutine, which somebody else runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from typing import Any

from ..core.jobs import Asked
from ..drive.replying import Answer, Failure
from .answering import arguments, encoded, failure_of, plain_frames
from .binding import Handler
from .work import HandlerWork


class AsyncHandlerWork(HandlerWork):
    """Adds ``async def``."""

    def is_async(self, job: Asked) -> bool:
        """Whether the handler of this job is ``async def``."""
        return bool(job.rule.application.is_async)

    def begin(self, job: Asked) -> Coroutine[Any, Any, Any] | Answer | list[bytes] | Failure:
        """The coroutine of a unary handler, not started yet; or why it cannot be called; of a ``def``, its answer."""
        handler: Handler = job.rule.application
        if not handler.is_async:
            return self.answer(job)
        try:
            coroutine: Coroutine[Any, Any, Any] = handler.function(*arguments(handler, job))
        except Exception as error:  # noqa: BLE001  every exception becomes an answer
            return failure_of(error, handler, self.mapping)
        return coroutine

    def result(self, job: Asked, value: Any, error: BaseException | None) -> Answer | list[bytes] | Failure:
        """The answer, from what the coroutine returned or raised."""
        handler: Handler = job.rule.application
        if error is None:
            try:
                if handler.name is None:
                    return plain_frames(value)
                return encoded(handler.reply, value, self.limits)
            except Exception as wrong:  # noqa: BLE001
                error = wrong
        return failure_of(error, handler, self.mapping)

    async def parts_async(self, job: Asked) -> AsyncIterator[Answer | Failure]:
        """Run an async generator; closing this one closes the handler's."""
        handler: Handler = job.rule.application
        try:
            values: Any = handler.function(*arguments(handler, job))
            try:
                async for value in values:
                    yield encoded(handler.reply, value, self.limits)
            finally:
                await values.aclose()
        except (Exception, SystemExit) as error:  # noqa: BLE001  sys.exit() in a handler must not end the server
            yield failure_of(error, handler, self.mapping)
