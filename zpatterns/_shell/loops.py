"""What the asyncio world alone needs of its loop; apart, so that ``import zpatterns`` does not import asyncio."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager

from ..errors import WrongLoopError
from .signals import STOPPING, wanted

log: logging.Logger = logging.getLogger("zpatterns")


def check_loop(owner: asyncio.AbstractEventLoop | None, what: str) -> None:
    """Raises WrongLoopError outside a running loop, or on another one than the owner's."""
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        raise WrongLoopError(
            f"no event loop runs in this thread; use the {what} within one, or zpatterns without asyncio"
        ) from None
    if owner is not None and running is not owner:
        raise WrongLoopError(
            f"this {what} belongs to another event loop; make one for each loop, or go through "
            "asyncio.run_coroutine_threadsafe(...) to the loop it belongs to"
        )


@contextmanager
def on_loop_signal(stop: Callable[[str], None]) -> Generator[None]:
    """The same as a callback of the running loop."""
    loop = asyncio.get_running_loop()
    installed = wanted()
    for number in installed:
        loop.add_signal_handler(number, stop, number.name)
    try:
        yield
    finally:
        for number in installed:
            loop.remove_signal_handler(number)


@contextmanager
def until_second_loop_signal(stop: Callable[[], None]) -> Generator[None]:
    """The first calls ``stop``; the next one cancels the block, which then ends as if it were done."""
    task = asyncio.current_task()
    assert task is not None
    heard: list[str] = []

    def hear(name: str) -> None:
        heard.append(name)
        if len(heard) == 1:
            log.info(STOPPING, name)
            stop()
        elif len(heard) == 2:
            task.cancel()

    with on_loop_signal(hear):
        try:
            yield
        except asyncio.CancelledError:
            if len(heard) < 2 or task.uncancel():  # somebody else cancelled it, too
                raise
        else:
            if len(heard) > 1:  # a handler took the cancel for its own
                task.uncancel()
