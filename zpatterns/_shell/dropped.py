"""An asyncio object that is dropped without ``close()``: its sockets are released all the same, and it is said aloud."""

from __future__ import annotations

import asyncio
import warnings
from contextlib import suppress
from typing import Any, Protocol
from weakref import finalize

from .guards import ForkGuard


class Driver(Protocol):
    """What goes on without the object that made it: it must not hold that one."""

    loop: asyncio.AbstractEventLoop

    def close(self) -> None: ...


def watch(owner: object, driver: Driver, fork: ForkGuard) -> finalize[..., Any]:
    """Close the driver when nobody holds its owner any more. Detach what this returns when it was closed."""
    return finalize(owner, _dropped, type(owner).__name__, driver, fork)


def _dropped(name: str, driver: Driver, fork: ForkGuard) -> None:
    if fork.forked:
        return
    loop = driver.loop
    if loop.is_running() and asyncio._get_running_loop() is not loop:  # the collector ran on another thread
        with suppress(RuntimeError):  # the loop was closed just now
            loop.call_soon_threadsafe(driver.close)
    else:
        driver.close()
    warnings.warn(
        f"a {name} was dropped without close(): use 'async with', or await close() when you are done with it",
        ResourceWarning,
        stacklevel=2,
    )
