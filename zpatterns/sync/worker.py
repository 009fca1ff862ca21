"""The blocking ``PipelineWorker``: runs the stages of a pipeline until it is told to stop, then finishes what it has."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from .._shell.arguments import checked_grace
from .._shell.guards import ForkGuard, check_made
from .._shell.signals import on_signal
from ..core.worker import PipelineWorkerStatistics
from ..drive.working import BlockingWorker
from ..errors import Closed
from ..policy import DEFAULT_GRACE

log: logging.Logger = logging.getLogger("zpatterns")


class PipelineWorker:
    """One worker of a pipeline: ``run()`` it, or start it on a thread with ``with``."""

    def __init__(self, open_: Callable[[], BlockingWorker], /) -> None:
        check_made(open_, Callable, "pipeline.worker(...), and run it; or call pipeline.run_worker(...)")  # type: ignore[arg-type]
        self._open = open_
        self._fork = ForkGuard("PipelineWorker")
        self._worker: BlockingWorker | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._grace = DEFAULT_GRACE

    @property
    def statistics(self) -> PipelineWorkerStatistics:
        """Counters since it was started."""
        return self._worker.machine.statistics if self._worker is not None else PipelineWorkerStatistics()

    def run(self, *, grace: float = DEFAULT_GRACE) -> None:
        """As ``Pipeline.run_worker``."""
        self._grace = checked_grace(grace)
        worker = self._start()
        with on_signal(self._on_signal):
            self._serve(worker)

    def stop(self, *, grace: float | None = None) -> None:
        """Take nothing more and end within ``grace`` seconds, from any thread or signal handler. Returns at once."""
        if grace is not None:
            self._grace = checked_grace(grace)
        self._stopping = True
        if self._worker is not None:
            self._worker.loop.wake()

    def close(self) -> None:
        """Stop and wait until it has: at most ``grace`` seconds if handlers still run; not within one of them. Idempotent."""
        if self._fork.forked:
            return
        self.stop()
        thread = self._thread
        if self._worker is None or self._worker.mine:
            return
        if thread is not None and thread is not threading.current_thread():
            thread.join(self._grace + 5.0)
            self._thread = None

    def __enter__(self) -> Self:
        worker = self._start()
        self._thread = threading.Thread(target=self._serve, args=(worker,), name="zpatterns-worker", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _start(self) -> BlockingWorker:
        self._fork.check()
        if self._worker is not None:
            raise Closed("this worker was started already; make a new one to start again")
        self._worker = self._open()
        log.info("worker %d waits for jobs", os.getpid())
        return self._worker

    def _serve(self, worker: BlockingWorker) -> None:
        try:
            worker.serve(lambda: self._stopping, lambda: self._grace)
        finally:
            worker.close()
            log.info("worker %d has stopped", os.getpid())

    def _on_signal(self, name: str) -> None:
        if self._stopping and self._worker is not None:
            self._worker.hurried = True
        else:
            log.info("%s: stopping; once more stops at once", name)
        self.stop()
