"""The asyncio ``PipelineWorker``."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from types import TracebackType
from typing import Self

from .._shell.arguments import checked_grace
from .._shell.guards import ForkGuard, check_made
from .._shell.loops import check_loop
from .._shell.stopping import Stopping
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
        self._stopping = Stopping()
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
        self._grace = checked_grace(grace)
        self._start()
        await self._stopping.serve(self._finish, self._close_now, signals=signals)

    def stop(self, *, grace: float | None = None) -> None:
        """Take nothing more and end within ``grace`` seconds. Call it on the loop. Returns at once."""
        if grace is not None:
            self._grace = checked_grace(grace)
        self._stopping.asked.set()

    async def close(self) -> None:
        """Stop and wait until it has: at most ``grace`` seconds if handlers still run. Idempotent."""
        worker = self._worker
        if self._fork.forked or worker is None:
            return
        if worker.loop.is_closed():
            self._close_now()
            return
        check_loop(worker.loop, "worker")
        try:
            await self._stopping.end(self._finish)
        finally:
            self._close_now()

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
        self._worker.broken = self._stopping.broke
        log.info("worker %d waits for jobs", os.getpid())
        return self._worker

    def _dismissed(self) -> None:
        if self._worker is not None:
            self._stopping.begin(self._finish)

    def _close_now(self) -> None:
        if self._worker is not None and not self._worker.closed:
            self._worker.close()
            log.info("worker %d has stopped", os.getpid())

    async def _finish(self) -> None:
        assert self._worker is not None
        await self._worker.stop(self._grace)
