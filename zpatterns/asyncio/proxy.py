"""The asyncio ``Proxy``. It forwards on threads, in C, in both worlds; only waiting for it differs."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import nullcontext
from types import TracebackType
from typing import Any, Self

from .._shell.loops import check_loop, on_loop_signal
from .._shell.proxying import Proxying

log: logging.Logger = logging.getLogger("zpatterns")


class Proxy(Proxying):
    """``zpatterns.Proxy`` for asyncio: same arguments, same rules. ``capture`` is called on a thread, not on the loop."""

    async def start(self) -> Self:
        """As ``zpatterns.Proxy.start``."""
        check_loop(None, "proxy")
        self._open()
        return self

    def run(self) -> None:
        """Run it on a loop of its own until SIGINT or SIGTERM; see ``zpatterns.Proxy.run``."""
        asyncio.run(self.serve(signals=True))

    async def serve(self, *, signals: bool = False) -> None:
        """Run it until ``stop()`` is called or the task is cancelled; ``signals=True`` stops on SIGINT and SIGTERM too."""
        await self.start()
        with on_loop_signal(self._on_signal) if signals else nullcontext():
            try:
                await _on_thread(self._started().over.wait)
            finally:
                await self.close()

    async def pause(self, *, timeout: float = 1.0) -> None:
        """As ``zpatterns.Proxy.pause``."""
        proxy = self._started()
        await _on_thread(lambda: proxy.pause(timeout))

    async def resume(self) -> None:
        """As ``zpatterns.Proxy.resume``."""
        await _on_thread(self._started().resume)

    async def close(self) -> None:
        """As ``zpatterns.Proxy.close``."""
        proxy = self._proxy
        if proxy is not None and not self._fork.forked:
            proxy.stop()
            await _on_thread(lambda: proxy.join(self._patience))

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    def _on_signal(self, name: str) -> None:
        log.info("%s: stopping", name)
        self.stop()


async def _on_thread(action: Callable[[], object]) -> None:
    """Wait for something that blocks, on a daemon thread: the loop's executor would keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if not done.done():
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

    def run() -> None:
        failure: Any = None
        try:
            action()
        except Exception as error:  # noqa: BLE001  it belongs to whoever waits
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, failure)

    threading.Thread(target=run, name="zpatterns-proxy-wait", daemon=True).start()
    await done
