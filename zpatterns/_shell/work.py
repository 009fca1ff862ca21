"""Runs handlers for a driver: decode, call, encode, and every exception turned into a failure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..core.jobs import Job
from ..core.machine import Frames
from ..errors import Status
from ..policy import Limits
from .answering import Answer, Failure, arguments, encoded, failure_of, plain_frames
from .binding import Handler


class HandlerWork:
    """The application's side of every job of one server. No method of it raises."""

    def __init__(
        self,
        handlers: Mapping[str | None, Handler],
        mapping: Mapping[type[Exception], Status],
        limits: Limits,
    ) -> None:
        self.handlers = handlers
        self.mapping = mapping
        self.limits = limits

    def handler(self, job: Job) -> Handler:
        """The handler of a job that the replier has admitted."""
        return self.handlers[job.method]

    def plain(self, job: Job) -> bool:
        """Whether the answer is bare frames."""
        return job.header is None

    def answer(self, job: Job) -> Answer | Frames | Failure:
        """Run a unary handler."""
        handler = self.handlers[job.method]
        try:
            value = handler.function(*arguments(handler, job))
            if handler.name is None:
                return plain_frames(value)
            return encoded(handler.reply, value, self.limits)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  a thread lost to sys.exit() or a cancel would never answer
            return failure_of(error, handler, self.mapping)

    def parts(self, job: Job) -> Iterator[Answer | Failure]:
        """Run a stream handler; closing this iterator closes the handler's generator."""
        handler = self.handlers[job.method]
        try:
            values: Any = iter(handler.function(*arguments(handler, job)))
            try:
                for value in values:
                    yield encoded(handler.reply, value, self.limits)
            finally:
                close = getattr(values, "close", None)
                if close is not None:
                    close()
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001
            yield failure_of(error, handler, self.mapping)
