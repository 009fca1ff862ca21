"""What the asyncio world alone needs of its loop; apart, so that ``import zpatterns`` does not import asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager

from ..errors import WrongLoopError
from .signals import wanted


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
