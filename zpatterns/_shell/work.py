"""Runs handlers for a driver: decode, call, encode, and every exception turned into a failure."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

from ..core.jobs import Asked
from ..drive.replying import Answer, Failure
from ..errors import Status
from ..policy import Limits
from .answering import arguments, encoded, failure_of, plain_frames
from .binding import Handler


def is_interrupt(error: BaseException) -> bool:
    """Whether it is Ctrl-C, which the main thread hears; elsewhere a handler raised it by itself, as it may anything."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


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
        except BaseException as error:  # a thread lost to sys.exit() or a cancel would never answer
            if is_interrupt(error):
                raise
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
        except GeneratorExit:
            raise
        except BaseException as error:
            if is_interrupt(error):
                raise
            yield failure_of(error, handler, self.mapping)
