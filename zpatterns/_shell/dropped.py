"""An asyncio object that is dropped without ``close()``: its sockets are released all the same, and it is said aloud."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import finalize, ref

from .guards import ForkGuard


def watch(
    owner: object, loop: asyncio.AbstractEventLoop, release: Callable[[], None], fork: ForkGuard
) -> finalize[..., Any]:
    """Call ``release`` when nobody holds the owner any more, which it must not hold either. Detach what this returns when
    it was closed.
    """
    return finalize(owner, _dropped, ref(owner), type(owner).__name__, loop, release, fork)


def _dropped(
    owner: ref[object], name: str, loop: asyncio.AbstractEventLoop, release: Callable[[], None], fork: ForkGuard
) -> None:
    if fork.forked:
        return
    if loop.is_running() and asyncio._get_running_loop() is not loop:  # the collector ran on another thread
        with suppress(RuntimeError):  # the loop was closed just now
            loop.call_soon_threadsafe(release)
    else:
        release()  # now: a loop that is about to end may not come to it
    if owner() is not None:
        return  # it is held: the process ends
    warnings.warn(
        f"a {name} was dropped without close(): use 'async with', or await close() when you are done with it",
        ResourceWarning,
        stacklevel=2,
    )
