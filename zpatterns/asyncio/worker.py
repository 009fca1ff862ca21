"""The asyncio ``PipelineWorker``."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import nullcontext
from types import TracebackType
from typing import Any, Self

from .._shell.guards import ForkGuard, check_made
from .._shell.loops import check_loop, on_loop_signal
from ..core.worker import PipelineWorkerStatistics
from ..drive.aworking import AsyncWorker
from ..errors import Closed
from ..policy import DEFAULT_GRACE

log: logging.Logger = logging.getLogger("zpatterns")


class PipelineWorker:
    """``zpatterns.PipelineWorker`` for asyncio."""

    def __init__(self, open_: Callable[[Callable[[], None]], AsyncWorker], /) -> None:
        check_made(open_, Callable, "pipeline.worker(...), and run it; or call pipeline.run_worker(...)")  # type: ignore[arg-type]
        self._open = open_
        self._fork = ForkGuard("PipelineWorker")
        self._worker: AsyncWorker | None = None
        self._stopped = asyncio.Event()
        self._shutting: asyncio.Task[Any] | None = None
        self._grace = DEFAULT_GRACE

    @property
    def statistics(self) -> PipelineWorkerStatistics:
        """Counters since it was started."""
        return self._worker.machine.statistics if self._worker is not None else PipelineWorkerStatistics()

    def run(self, *, grace: float = DEFAULT_GRACE) -> None:
        """As ``Pipeline.run_worker``."""
        asyncio.run(self.serve(grace=grace, signals=True))

    async def serve(self, *, grace: float = DEFAULT_GRACE, signals: bool = False) -> None:
        """Work until ``stop()``, ``stop_workers()`` or a cancel; ``signals=True``: until SIGINT and SIGTERM, too."""
        self._grace = grace
        worker = self._start()
        with on_loop_signal(self._on_signal) if signals else nullcontext():
            try:
                await self._stopped.wait()
                await self._shut(worker)
            finally:
                worker.close()
                log.info("worker %d has stopped", os.getpid())

    def stop(self, *, grace: float | None = None) -> None:
        """Take nothing more and end within ``grace`` seconds. Call it on the loop. Returns at once."""
        if grace is not None:
            self._grace = grace
        self._stopped.set()

    async def close(self) -> None:
        """Stop and wait until it has: at most ``grace`` seconds if handlers still run. Idempotent."""
        worker = self._worker
        if self._fork.forked or worker is None:
            return
        if worker.loop.is_closed():
            worker.close()
            return
        check_loop(worker.loop, "worker")
        self._stopped.set()
        try:
            await self._shut(worker)
        finally:
            worker.close()

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    def _start(self) -> AsyncWorker:
        self._fork.check()
        if self._worker is not None:
            raise Closed("this worker was started already; make a new one to start again")
        check_loop(None, "worker")
        self._worker = self._open(self._dismissed)
        log.info("worker %d waits for jobs", os.getpid())
        return self._worker

    def _dismissed(self) -> None:
        self._stopped.set()
        if self._worker is not None and self._shutting is None:
            self._shutting = asyncio.ensure_future(self._worker.stop(self._grace))

    async def _shut(self, worker: AsyncWorker) -> None:
        if self._shutting is None:  # serve() and close() may both get here: one stops, both wait for it
            self._shutting = asyncio.ensure_future(worker.stop(self._grace))
        try:
            await asyncio.shield(self._shutting)
        except asyncio.CancelledError:
            if not self._shutting.cancelled():
                self._shutting.cancel()
                raise

    def _on_signal(self, name: str) -> None:
        if self._stopped.is_set():
            if self._shutting is not None:
                self._shutting.cancel()
        else:
            log.info("%s: stopping; once more stops at once", name)
            self._stopped.set()
