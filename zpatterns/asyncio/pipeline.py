"""The asyncio ``Pipeline``: the same jobs, workers and rules as ``zpatterns.Pipeline``, awaited."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Mapping
from operator import length_hint
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload
from weakref import finalize

from .._shell.amapping import results
from .._shell.arguments import checked_count, chosen
from .._shell.calls import checked_timeout
from .._shell.dropped import watch
from .._shell.flowing import checked_wait
from .._shell.guards import ForkGuard, checked_endpoint
from .._shell.loops import check_loop
from .._shell.mapping import Course, check_map
from .._shell.pipelines import counted, open_ventilator, open_worker
from .._shell.progress import Progress
from .._shell.stage_work import StageHandlerWork
from .._shell.stages import AsyncStage, DefStage, Stage, Stages
from ..core.crew import PipelineStatistics
from ..drive.aventilating import AsyncRun, AsyncVentilator
from ..drive.aworking import AsyncWorker
from ..drive.sockets import Context
from ..endpoint import Insecure
from ..errors import Closed, DeadLetter, JobFailed, Status
from ..policy import DEFAULT_GRACE, DEFAULT_TIMEOUT, DEFAULT_WORKER_TIMEOUT, Heartbeat, Limits, SocketOptions
from .worker import PipelineWorker

log: logging.Logger = logging.getLogger("zpatterns")

T = TypeVar("T")
U = TypeVar("U")
A = TypeVar("A")
B = TypeVar("B")


class _StageOf:
    """``@pipeline.stage(...)``, before it has its function."""

    def __init__(self, register: Callable[[Callable[..., Any]], Any]) -> None:
        self._register = register

    @overload
    def __call__(self, function: Callable[[T], Coroutine[Any, Any, U]], /) -> AsyncStage[T, U]: ...
    @overload
    def __call__(self, function: Callable[[T], U], /) -> DefStage[T, U]: ...
    def __call__(self, function: Any, /) -> Any:
        return self._register(function)


class Pipeline:
    """``zpatterns.Pipeline`` for asyncio: same arguments, same rules; stages are ``async def`` or ``def``.

    ``async def`` stages start at once, ``concurrency`` of them side by side, and are cancelled at their ``timeout``.
    ``jobs`` may be an async iterable. It belongs to the loop it is first used on.
    """

    def __init__(
        self,
        endpoint: str,
        /,
        *,
        timeout: float = DEFAULT_WORKER_TIMEOUT,
        exceptions: Mapping[type[Exception], Status] | None = None,
        limits: Limits | None = None,
        heartbeat: Heartbeat | None = None,
        options: SocketOptions | None = None,
        security: Insecure | None = None,
        context: Context | None = None,
    ) -> None:
        checked_endpoint(endpoint, bind=True, security=security)
        self._text = endpoint
        self._timeout = checked_timeout(timeout)
        self._exceptions = dict(exceptions or {})
        self._limits = chosen(limits, Limits)
        self._heartbeat = chosen(heartbeat, Heartbeat)
        self._options = chosen(options, SocketOptions)
        self._security = security
        self._context = context
        self._stages = Stages(takes_async=True)
        self._fork = ForkGuard("Pipeline")
        self._ventilator: AsyncVentilator | None = None
        self._finalizer: finalize[..., Any] | None = None
        self._address: str | None = None
        self._letters: deque[DeadLetter] = deque(maxlen=self._limits.queue)
        self._closed = False

    # -- stages -------------------------------------------------------------------------------------------------

    @overload
    def stage(self, function: Callable[[T], Coroutine[Any, Any, U]], /) -> AsyncStage[T, U]: ...
    @overload
    def stage(self, function: Callable[[T], U], /) -> DefStage[T, U]: ...
    @overload
    def stage(
        self, /, *, name: str | None = ..., concurrency: int = ..., inline: bool = ..., timeout: float | None = ...
    ) -> _StageOf: ...
    def stage(
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        concurrency: int = 1,
        inline: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """As ``zpatterns.Pipeline.stage``."""

        def register(given: Callable[..., Any]) -> Stage[Any, Any]:
            return self._stages.add(given, name=name, concurrency=concurrency, inline=inline, timeout=timeout)

        return register(function) if function is not None else _StageOf(register)

    # -- jobs ---------------------------------------------------------------------------------------------------

    @overload
    def map(
        self,
        jobs: Iterable[T] | AsyncIterable[T],
        stage: Stage[T, U],
        /,
        *,
        window: int = ...,
        ordered: bool = ...,
        errors: Literal["raise"] = ...,
        progress: bool = ...,
    ) -> AsyncIterator[U]: ...
    @overload
    def map(
        self,
        jobs: Iterable[T] | AsyncIterable[T],
        first: Stage[T, A],
        second: Stage[A, U],
        /,
        *,
        window: int = ...,
        ordered: bool = ...,
        errors: Literal["raise"] = ...,
        progress: bool = ...,
    ) -> AsyncIterator[U]: ...
    @overload
    def map(
        self,
        jobs: Iterable[T] | AsyncIterable[T],
        first: Stage[T, A],
        second: Stage[A, B],
        third: Stage[B, U],
        /,
        *,
        window: int = ...,
        ordered: bool = ...,
        errors: Literal["raise"] = ...,
        progress: bool = ...,
    ) -> AsyncIterator[U]: ...
    @overload
    def map(
        self,
        jobs: Iterable[T] | AsyncIterable[T],
        stage: Stage[T, U],
        /,
        *,
        window: int = ...,
        ordered: bool = ...,
        errors: Literal["yield"],
        progress: bool = ...,
    ) -> AsyncIterator[U | JobFailed]: ...
    @overload
    def map(
        self,
        jobs: Iterable[T] | AsyncIterable[T],
        first: Stage[T, A],
        second: Stage[A, U],
        /,
        *,
        window: int = ...,
        ordered: bool = ...,
        errors: Literal["yield"],
        progress: bool = ...,
    ) -> AsyncIterator[U | JobFailed]: ...
    @overload
    def map(
        self,
        jobs: Iterable[T] | AsyncIterable[T],
        first: Stage[T, A],
        second: Stage[A, B],
        third: Stage[B, U],
        /,
        *,
        window: int = ...,
        ordered: bool = ...,
        errors: Literal["yield"],
        progress: bool = ...,
    ) -> AsyncIterator[U | JobFailed]: ...
    def map(
        self,
        jobs: Iterable[Any] | AsyncIterable[Any],
        /,
        *stages: Any,
        window: int = 64,
        ordered: bool = True,
        errors: Literal["raise", "yield"] = "raise",
        progress: bool = False,
    ) -> Any:
        """As ``zpatterns.Pipeline.map``, with ``async for``. An ``anext`` that was cancelled, or timed out, loses no result."""
        self._fork.check()
        check_map(window, errors)
        mine = self._stages.mine(stages)
        ventilator = self._open()
        run = AsyncRun()
        shown = Progress(" > ".join(stage.name for stage in mine), length_hint(jobs, 0)) if progress else None
        course = Course(
            mine,
            ventilator.lines([(stage.name, stage.timeout) for stage in mine]),
            run,
            self._limits,
            self._letters,
            window=window,
            ordered=ordered,
            errors=errors,
            progress=shown,
        )
        return results(self, ventilator, course, run, jobs)

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """The jobs that were given up since this was made, the last ``limits.queue`` of them; each keeps its ``job``."""
        return list(self._letters)

    # -- workers ------------------------------------------------------------------------------------------------

    def worker(self, endpoint: str | None = None, /) -> PipelineWorker:
        """As ``zpatterns.Pipeline.worker``, with ``async with``, or ``await worker.serve()``."""
        text = endpoint if endpoint is not None else self.endpoint
        checked = checked_endpoint(text, bind=False, security=self._security)
        return PipelineWorker(
            lambda dismissed: AsyncWorker(
                *open_worker(
                    self._stages.served(), checked, self._limits, self._heartbeat, self._options, self._context
                ),
                StageHandlerWork(self._exceptions, self._limits, self._stages.arrays()),
                name="zpatterns-worker",
                dismissed=dismissed,
            )
        )

    def run_worker(self, endpoint: str | None = None, /, *, grace: float = DEFAULT_GRACE) -> None:
        """As ``zpatterns.Pipeline.run_worker``, on a loop of its own."""
        self.worker(endpoint).run(grace=grace)

    def stop_workers(self) -> None:
        """As ``zpatterns.Pipeline.stop_workers``."""
        self._open().dismiss()

    async def wait_for_workers(
        self, stage: Stage[Any, Any] | None = None, /, count: int = 1, timeout: float = DEFAULT_TIMEOUT
    ) -> int:
        """As ``zpatterns.Pipeline.wait_for_workers``."""
        timeout = checked_wait(timeout)
        name = self._stages.mine((stage,))[0].name if stage is not None else None
        ventilator = self._open()
        found = await ventilator.wait_for_workers(name, checked_count("count", count), timeout)
        return counted(name, found, count, timeout, closed=ventilator.closed)

    @property
    def workers(self) -> int:
        """Workers that are connected now."""
        return len(self._ventilator.machine.workers) if self._ventilator is not None else 0

    # -- state --------------------------------------------------------------------------------------------------

    @property
    def endpoint(self) -> str:
        """The real address once it is bound, port * resolved; before that, what was asked for."""
        return self._address or self._text

    @property
    def statistics(self) -> PipelineStatistics:
        """Counters since it was bound."""
        return self._ventilator.machine.statistics if self._ventilator is not None else PipelineStatistics()

    async def close(self) -> None:
        """End every ``map`` with Closed and give the endpoint back; workers wait for the next. Idempotent."""
        if self._fork.forked:
            return
        self._closed = True
        if self._ventilator is not None:
            if not self._ventilator.loop.is_closed():
                check_loop(self._ventilator.loop, "pipeline")
            try:
                if not self._ventilator.loop.is_closed():
                    await self._ventilator.part()
            finally:
                self._ventilator.close()
                if self._finalizer is not None:
                    self._finalizer.detach()

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    def _open(self) -> AsyncVentilator:
        self._fork.check()
        if self._closed:
            raise Closed("the pipeline is closed; make a new one")
        if self._ventilator is None:
            check_loop(None, "pipeline")
            checked = checked_endpoint(self._text, bind=True, security=self._security)
            machine, pump, self._address = open_ventilator(
                checked, self._timeout, self._limits, self._heartbeat, self._options, self._context
            )
            self._ventilator = AsyncVentilator(machine, pump)
            self._finalizer = watch(self, self._ventilator.loop, self._ventilator.close, self._fork)
            self._ventilator.lines([(stage.name, stage.timeout) for stage in self._stages.by_name.values()])
            log.info("pipeline hands out jobs at %s", self._address)
        check_loop(self._ventilator.loop, "pipeline")
        return self._ventilator
