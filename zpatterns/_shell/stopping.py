"""How what serves on a loop ends: asked by ``stop()``, ``close()``, a dismissal or a signal, begun once, waited for by all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from typing import Any

from ..errors import Closed
from .loops import on_loop_signal

log: logging.Logger = logging.getLogger("zpatterns")
Stop = Callable[[], Coroutine[Any, Any, Any]]
"""What finishes what is under way, within its grace."""


class Stopping:
    """One end. Cancelling whoever waits for it cuts the grace short; so does a second signal."""

    def __init__(self) -> None:
        self.asked: asyncio.Event = asyncio.Event()
        self.ending: asyncio.Future[Any] | None = None
        self._broken = False

    async def serve(self, stop: Stop, close: Callable[[], None], *, signals: bool) -> None:
        """Wait until it is asked for, then end. ``close`` comes last, in any case. Raises Closed when the sockets went away."""
        with on_loop_signal(self.on_signal) if signals else nullcontext():
            try:
                await self.asked.wait()
                await self.end(stop)
                if self._broken:
                    raise Closed("the sockets are gone: was the context terminated?")
            finally:
                close()

    def broke(self) -> None:
        """The sockets are gone, and nobody asked for it."""
        if not self.asked.is_set():
            self._broken = True
            self.asked.set()

    def begin(self, stop: Stop) -> asyncio.Future[Any]:
        """End without waiting. Twice is once."""
        self.asked.set()
        if self.ending is None:
            self.ending = asyncio.ensure_future(stop())
        return self.ending

    async def end(self, stop: Stop) -> None:
        """End, and wait for it."""
        ending = self.begin(stop)
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            if not ending.cancelled():
                ending.cancel()
                raise

    def on_signal(self, name: str) -> None:
        """The first asks, the second does not wait."""
        if not self.asked.is_set():
            log.info("%s: stopping; once more stops at once", name)
            self.asked.set()
        elif self.ending is not None:
            self.ending.cancel()
