"""The blocking ``Pipeline``: jobs for worker processes that may die, each result once; and bare PUSH and PULL."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from operator import length_hint
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload
from weakref import finalize

from .._shell.arguments import checked_count, chosen
from .._shell.calls import checked_timeout
from .._shell.flowing import checked_wait
from .._shell.guards import ForkGuard, checked_endpoint
from .._shell.mapping import Course, check_map
from .._shell.pipelines import counted, open_ventilator, open_worker
from .._shell.progress import Progress
from .._shell.stage_work import StageHandlerWork
from .._shell.stages import DefStage, Stage, Stages
from ..core.crew import PipelineStatistics
from ..drive.sockets import Context
from ..drive.ventilating import BlockingVentilator, Run
from ..drive.working import BlockingWorker
from ..endpoint import Insecure
from ..errors import Closed, DeadLetter, JobFailed, Status
from ..policy import DEFAULT_GRACE, DEFAULT_TIMEOUT, DEFAULT_WORKER_TIMEOUT, Heartbeat, Limits, SocketOptions
from .worker import PipelineWorker

log: logging.Logger = logging.getLogger("zpatterns")

T = TypeVar("T")
U = TypeVar("U")
A = TypeVar("A")
B = TypeVar("B")
_SLICE = 0.25


class _StageOf:
    """``@pipeline.stage(...)``, before it has its function."""

    def __init__(self, register: Callable[[Callable[..., Any]], Any]) -> None:
        self._register = register

    def __call__(self, function: Callable[[T], U], /) -> DefStage[T, U]:
        stage: DefStage[T, U] = self._register(function)
        return stage


class Pipeline:
    """Work for many processes, over one endpoint: ``map`` binds it and hands out jobs, ``run_worker`` connects to it.

    Put the pipeline and its stages into a module that both sides import. A worker is given as many jobs as it has credit
    (``concurrency``), and answers each. One that dies, falls silent (``heartbeat``), or does not end a job within its
    stage's ``timeout``, loses it to another: **a stage runs at least once, and its result is given to the caller once**.
    A job that ``limits.deliveries`` workers did not end is a ``DeadLetter``. A job whose handler raises is not repeated.

    Workers may come and go at any time; jobs wait ``timeout`` seconds for a first one of their stage, then ``map`` raises
    NoSuchService. ``exceptions`` maps exception types of stages to statuses. ``security=Insecure()`` allows plaintext TCP
    beyond loopback. Any thread may use it. Guide: ch. 1 "Divide and Conquer", with the acknowledgements it leaves out.
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
        self._stages = Stages(takes_async=False)
        self._fork = ForkGuard("Pipeline")
        self._opening = threading.Lock()
        self._ventilator: BlockingVentilator | None = None
        self._address: str | None = None
        self._letters: deque[DeadLetter] = deque(maxlen=self._limits.queue)
        self._closed = False

    # -- stages -------------------------------------------------------------------------------------------------

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
        """Make a function of one job a stage: ``@pipeline.stage`` or ``@pipeline.stage(concurrency=4)``.

        ``concurrency`` jobs of it are given to a worker at once, and run on as many daemon threads of it; with
        ``inline=True`` they run on its loop, one after the other, without a pause between: the fastest for functions that
        never wait. ``timeout``: seconds after which a job is given to another worker, 300 unless said. ``name`` is the
        function's own. A second parameter ``ctx`` is a RequestContext; its ``attempt`` counts deliveries.

        Raises ConfigurationError for a function that cannot be a stage.
        """

        def register(given: Callable[..., Any]) -> Stage[Any, Any]:
            return self._stages.add(given, name=name, concurrency=concurrency, inline=inline, timeout=timeout)

        return register(function) if function is not None else _StageOf(register)

    # -- jobs ---------------------------------------------------------------------------------------------------

    @overload
    def map(
        self, jobs: Iterable[T], stage: Stage[T, U], /, *, window: int = ..., ordered: bool = ...,
        errors: Literal["raise"] = ..., progress: bool = ...,
    ) -> Iterator[U]: ...  # fmt: skip
    @overload
    def map(
        self, jobs: Iterable[T], first: Stage[T, A], second: Stage[A, U], /, *, window: int = ..., ordered: bool = ...,
        errors: Literal["raise"] = ..., progress: bool = ...,
    ) -> Iterator[U]: ...  # fmt: skip
    @overload
    def map(
        self, jobs: Iterable[T], first: Stage[T, A], second: Stage[A, B], third: Stage[B, U], /, *, window: int = ...,
        ordered: bool = ..., errors: Literal["raise"] = ..., progress: bool = ...,
    ) -> Iterator[U]: ...  # fmt: skip
    @overload
    def map(
        self, jobs: Iterable[T], stage: Stage[T, U], /, *, window: int = ..., ordered: bool = ...,
        errors: Literal["yield"], progress: bool = ...,
    ) -> Iterator[U | JobFailed]: ...  # fmt: skip
    @overload
    def map(
        self, jobs: Iterable[T], first: Stage[T, A], second: Stage[A, U], /, *, window: int = ..., ordered: bool = ...,
        errors: Literal["yield"], progress: bool = ...,
    ) -> Iterator[U | JobFailed]: ...  # fmt: skip
    @overload
    def map(
        self, jobs: Iterable[T], first: Stage[T, A], second: Stage[A, B], third: Stage[B, U], /, *, window: int = ...,
        ordered: bool = ..., errors: Literal["yield"], progress: bool = ...,
    ) -> Iterator[U | JobFailed]: ...  # fmt: skip
    def map(
        self,
        jobs: Iterable[Any],
        /,
        *stages: Any,
        window: int = 64,
        ordered: bool = True,
        errors: Literal["raise", "yield"] = "raise",
        progress: bool = False,
    ) -> Any:
        """Run every job through the stages, and give the results as they come: ``for thumb in pipeline.map(jobs, shrink)``.

        ``jobs`` is read as results are taken: at most ``window`` of them are under way or wait to be taken, so a slow
        consumer slows the producer down. ``ordered=False`` gives results as they are ready. A result of one stage goes
        to the next without passing through here.

        A handler's error, and a dead letter, is raised as JobFailed in the place of its result, which ends the rest; with
        ``errors="yield"`` it is given in that place, and the others go on. ``progress=True`` shows how far it is, on
        stderr. Leaving the loop, or closing the iterator, drops what no worker has begun.

        Raises NoSuchService when no worker serves a stage for ``timeout`` seconds, Closed, TypeError for a job that is not
        of the stage's type, MessageTooLarge, AddressInUse and its kinds for the endpoint.
        """
        self._fork.check()
        check_map(window, errors)
        mine = self._stages.mine(stages)
        ventilator = self._open()
        run = Run()
        shown = Progress(" > ".join(stage.name for stage in mine), length_hint(jobs)) if progress else None
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
        return self._results(ventilator, course, run, iter(jobs))

    def _results(self, ventilator: BlockingVentilator, course: Course, run: Run, jobs: Iterator[Any]) -> Iterator[Any]:
        more = True
        workers = ventilator.machine.workers
        try:
            while True:
                if more and course.hungry:
                    while more and course.room:
                        tasks = course.take(islice(jobs, 1))  # one by one: the next may be long in coming
                        more = bool(tasks)
                        ventilator.put(tasks)
                results = course.results()
                if results:
                    course.look(len(workers))
                    for result in results:
                        course.open -= 1
                        yield result
                elif not more and not course.open:
                    return
                else:
                    self._fork.check()  # nothing comes in a child
                    run.wait(_SLICE)
                    course.look(len(workers))
                    if ventilator.ended and not run.ended:
                        raise Closed("the pipeline was closed")
        finally:
            if course.open and not self._fork.forked:
                ventilator.cancel(course.route)
            course.end(len(workers))

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """The jobs that were given up since this was made, the last ``limits.queue`` of them; each keeps its ``job``."""
        return list(self._letters)

    # -- workers ------------------------------------------------------------------------------------------------

    def worker(self, endpoint: str | None = None, /) -> PipelineWorker:
        """A worker for every stage, to be started with ``with``, on a thread of this process; or with its ``run()``.

        ``endpoint`` is where the pipeline is found from here, when it is not the endpoint it was made with.
        """
        text = endpoint if endpoint is not None else self.endpoint
        checked = checked_endpoint(text, bind=False, security=self._security)
        return PipelineWorker(
            lambda: BlockingWorker(
                *open_worker(
                    self._stages.served(), checked, self._limits, self._heartbeat, self._options, self._context
                ),
                StageHandlerWork(self._exceptions, self._limits, self._stages.arrays()),
                name="zpatterns-worker",
            )
        )

    def run_worker(self, endpoint: str | None = None, /, *, grace: float = DEFAULT_GRACE) -> None:
        """Be a worker until SIGINT, SIGTERM, or ``stop_workers()`` on the other side.

        Then it takes nothing more and finishes what runs within ``grace`` seconds; what is left goes to other workers. A
        second signal stops at once. It may start before the process that maps, and outlives it.
        """
        self.worker(endpoint).run(grace=grace)

    def stop_workers(self) -> None:
        """Tell every worker, and those that come until the next ``map``, to finish what it has and end."""
        self._open().dismiss()

    def wait_for_workers(
        self, stage: Stage[Any, Any] | None = None, /, count: int = 1, timeout: float = DEFAULT_TIMEOUT
    ) -> int:
        """Wait until ``count`` workers serve a stage, or any; returns how many do. Those that are leaving do not count.

        ``map`` does not need it: jobs wait for workers. Raises RequestTimeout, which says how many there were, and Closed.
        """
        timeout = checked_wait(timeout)
        name = self._stages.mine((stage,))[0].name if stage is not None else None
        ventilator = self._open()
        found = ventilator.wait_for_workers(name, checked_count("count", count), timeout)
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

    def close(self) -> None:
        """End every ``map`` with Closed and give the endpoint back; workers wait for the next. Idempotent."""
        if not self._fork.forked:
            with self._opening:
                self._closed = True
                ventilator = self._ventilator
            if ventilator is not None:
                ventilator.close()

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _open(self) -> BlockingVentilator:
        self._fork.check()
        with self._opening:
            if self._closed:
                raise Closed("the pipeline is closed; make a new one")
            if self._ventilator is None:
                checked = checked_endpoint(self._text, bind=True, security=self._security)
                machine, pump, self._address = open_ventilator(
                    checked, self._timeout, self._limits, self._heartbeat, self._options, self._context
                )
                self._ventilator = BlockingVentilator(machine, pump)
                finalize(self, _abandoned, self._ventilator, self._fork)
                self._ventilator.lines([(stage.name, stage.timeout) for stage in self._stages.by_name.values()])
                log.info("pipeline hands out jobs at %s", self._address)
            return self._ventilator


def _abandoned(ventilator: BlockingVentilator, fork: ForkGuard) -> None:
    """The pipeline was dropped without close()."""
    if not fork.forked:
        ventilator.close()
