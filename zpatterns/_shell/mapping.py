"""One ``map`` of a pipeline: from jobs to tasks, from tasks that have ended to results in their order. The same in both worlds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

from ..core.crew import Bundle, Line, Task
from ..errors import ConfigurationError, DeadLetter, DecodeError, JobFailed, MessageTooLarge, Status, ZPatternsError
from ..policy import Limits
from .arguments import checked_count
from .progress import Progress
from .stages import Stage

_SMALL = 65_536


class Ended(Protocol):
    """Where the driver puts what has ended."""

    ended: deque[Task | Bundle]


class _Fault:
    """In the place of a result: why there is none."""

    __slots__ = ("failure", "job")

    def __init__(self, failure: ZPatternsError, job: Any) -> None:
        self.failure = failure
        self.job = job


class Course:
    """At most ``window`` jobs are taken and not yet given back as results."""

    def __init__(
        self,
        stages: Sequence[Stage[Any, Any]],
        lines: Sequence[Line],
        run: Ended,
        limits: Limits,
        letters: deque[DeadLetter],
        *,
        window: int,
        ordered: bool,
        errors: str,
        progress: Progress | None,
    ) -> None:
        self.open: int = 0
        """Jobs that were taken and not given back. Whoever gives results back counts them off."""
        self.route: list[Line] = list(lines)
        """Of its tasks, and of no others."""
        self.over: bool = False
        """No more results will be asked for."""
        self._encode = stages[0].job_codec.encode
        self._codec = stages[0].job_codec.wire_id
        self._decode = stages[-1].result_codec.decode
        self._array = stages[-1]._results
        self._run = run
        self._limits = limits
        self._letters = letters
        self._window = window
        self._low = max(1, window // 4)
        self._ordered = ordered
        self._raises = errors == "raise"
        self._progress = progress
        self._share = 1 if progress is not None else self._low
        self._taken = 0
        self._next = 0
        self._apart: dict[int, Any] = {}
        """Results by the number of their job, before it is their turn."""
        self._ready: deque[Any] = deque()
        self._faults = 0
        """Of those that are ready, how many are none."""

    @property
    def room(self) -> bool:
        """Whether one more job may be taken."""
        return self.open < self._window

    @property
    def hungry(self) -> bool:
        """Whether it is time to take jobs: not one for each result, or each would travel alone."""
        return self._window - self.open >= self._low

    def take(self, jobs: Iterator[Any]) -> list[Task]:
        """The next jobs, on their way; fewer than there is room for when there are no more.

        Raises TypeError for one of a wrong type, MessageTooLarge for one over the limits.
        """
        encode, route, codec, run, number = self._encode, self.route, self._codec, self._run, self._taken
        tasks: list[Task] = []
        for job in islice(jobs, self._window - self.open):
            payload, buffers = encode(job)
            if buffers or len(payload) > _SMALL:
                self._check_size(payload, buffers)
            tasks.append(Task(route, payload, codec, buffers, (run, number, job)))
            number += 1
        self._taken = number
        self.open += len(tasks)
        return tasks

    def results(self) -> list[Any]:
        """The next results, not so many that workers would run dry meanwhile; none if there are none yet.

        Raises what ended a job when it is its turn, or gives it, as asked.
        """
        ready, ended = self._ready, self._run.ended
        while ended and not ready:
            self._open(ended.popleft())
        count = min(len(ready), self._share)
        if self._faults and count:
            count = 1
            if type(ready[0]) is _Fault:
                return [self._fault(ready.popleft())]
        if self._progress is not None and count:
            self._progress.one(failed=False)
        return [ready.popleft() for _ in range(count)]

    def _open(self, ended: Task | Bundle) -> None:
        tasks: Sequence[Task]
        if isinstance(ended, Task):
            tasks, values = (ended,), [self._value(ended, ended.codec, ended.payload)]
        else:
            tasks = ended.tasks
            found = self._array.decode(ended.codec, len(tasks), ended.payload)
            values = found if found is not None else self._one_by_one(ended)
        if not self._ordered:
            self._ready.extend(values)
            return
        apart, ready, at = self._apart, self._ready, self._next
        numbers = [task.application[1] for task in tasks]
        if numbers == [*range(at, at + len(numbers))]:
            ready.extend(values)
            at += len(numbers)
        else:
            apart.update(zip(numbers, values, strict=True))
        while at in apart:
            ready.append(apart.pop(at))
            at += 1
        self._next = at

    def _one_by_one(self, bundle: Bundle) -> list[Any]:
        payloads: Sequence[Any]
        try:
            payloads = bundle.split()
        except DecodeError:
            payloads = [b""] * len(bundle.tasks)
        return [self._value(task, bundle.codec, each) for task, each in zip(bundle.tasks, payloads, strict=True)]

    def _value(self, task: Task, codec: int, payload: Any) -> Any:
        failure = task.failure
        if failure is None:
            try:
                return self._decode(codec, payload, task.buffers)
            except DecodeError as error:
                failure = JobFailed(Status.INTERNAL, f"its result does not decode: {error}")
        self._faults += 1
        return _Fault(failure, task.application[2])

    def _fault(self, fault: _Fault) -> JobFailed:
        self._faults -= 1
        if self._progress is not None:
            self._progress.one(failed=True)
        failure = fault.failure
        if isinstance(failure, JobFailed):
            failure.job = fault.job
            if isinstance(failure, DeadLetter):
                self._letters.append(failure)
            if not self._raises:
                return failure
        raise failure

    def look(self, workers: int) -> None:
        """Time has passed: show how far it is."""
        if self._progress is not None:
            self._progress.look(self.open, workers)

    def end(self, workers: int) -> None:
        """No more results will be asked for."""
        self.over = True
        if self._progress is not None:
            self._progress.close(self.open, workers)

    def _check_size(self, payload: Any, buffers: Sequence[Any]) -> None:
        size = len(payload) + sum(memoryview(buffer).nbytes for buffer in buffers)
        if size > self._limits.message or len(buffers) + 4 > self._limits.frames:
            raise MessageTooLarge(
                f"a job of {size} bytes in {len(buffers) + 1} frames; the limit is {self._limits.message} bytes in "
                f"{self._limits.frames - 3} frames (Limits.message, Limits.frames). Send less, or raise it on both sides"
            )


def check_map(window: int, errors: str) -> None:
    """Raises ConfigurationError for arguments of ``map`` that cannot work."""
    checked_count("window", window, 1)
    if errors not in ("raise", "yield"):
        raise ConfigurationError(f"errors={errors!r}: must be 'raise' or 'yield'")
