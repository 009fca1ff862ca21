"""Runs handlers for a driver: decode, call, encode, and every exception turned into a failure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..core.jobs import Asked
from ..drive.replying import Answer, Failure
from ..errors import Status
from ..policy import Limits
from .answering import arguments, encoded, failure_of, plain_frames
from .binding import Handler


class HandlerWork:
    """The application's side of every job of one server: its rule carries the handler. No method of it raises."""

    def __init__(
        self,
        mapping: Mapping[type[Exception], Status],
        limits: Limits,
    ) -> None:
        self.mapping = mapping
        self.limits = limits

    def answer(self, job: Asked) -> Answer | list[bytes] | Failure:
        """Run a unary handler."""
        handler: Handler = job.rule.application
        try:
            value = handler.function(*arguments(handler, job))
            if handler.name is None:
                return plain_frames(value)
            return encoded(handler.reply, value, self.limits)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  a thread lost to sys.exit() or a cancel would never answer
            return failure_of(error, handler, self.mapping)

    def parts(self, job: Asked) -> Iterator[Answer | Failure]:
        """Run a stream handler; closing this iterator closes the handler's generator."""
        handler: Handler = job.rule.application
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
