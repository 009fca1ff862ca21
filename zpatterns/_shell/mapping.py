"""One ``map`` of a pipeline: from jobs to tasks, from tasks that have ended to results in their order. The same in both worlds."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from ..core.crew import Line, Task
from ..errors import ConfigurationError, DeadLetter, DecodeError, JobFailed, MessageTooLarge, Status
from ..policy import Limits
from .progress import Progress
from .stages import Stage

NOTHING: Any = object()
"""No result is ready."""
_SMALL = 65_536


class Ended(Protocol):
    """Where the driver puts what has ended."""

    ended: deque[Task]


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
        self.open: dict[Task, None] = {}
        """Those that have not been given back."""
        self._encode = stages[0].job_codec.encode
        self._codec = stages[0].job_codec.wire_id
        self._decode = stages[-1].result_codec.decode
        self._lines = lines
        self._run = run
        self._limits = limits
        self._letters = letters
        self._window = window
        self._low = max(1, window // 4)
        self._ordered = ordered
        self._raises = errors == "raise"
        self._progress = progress
        self._taken = 0
        self._next = 0
        self._done: dict[int, Task] = {}

    @property
    def room(self) -> bool:
        """Whether one more job may be taken."""
        return len(self.open) < self._window

    @property
    def hungry(self) -> bool:
        """Whether it is time to take jobs: not one for each result, or each would travel alone."""
        return self._window - len(self.open) >= self._low

    def task(self, job: Any) -> Task:
        """The next job, on its way. Raises TypeError for one of a wrong type, MessageTooLarge for one over the limits."""
        payload, buffers = self._encode(job)
        if buffers or len(payload) > _SMALL:
            self._check_size(payload, buffers)
        task = Task(self._lines, payload, self._codec, buffers, (self._run, self._taken, job))
        self._taken += 1
        self.open[task] = None
        return task

    def result(self) -> Any:
        """The next result, or NOTHING if there is none yet. Raises what ended its job, or returns it, as asked."""
        ended = self._run.ended
        if self._ordered:
            while ended:
                task = ended.popleft()
                self._done[task.application[1]] = task
            if self._next not in self._done:
                return NOTHING
            task = self._done.pop(self._next)
            self._next += 1
        elif ended:
            task = ended.popleft()
        else:
            return NOTHING
        del self.open[task]
        if self._progress is not None:
            self._progress.one(failed=task.failure is not None)
        if task.failure is None:
            try:
                return self._decode(task.codec, task.payload, task.buffers)
            except DecodeError as error:
                task.failure = JobFailed(Status.INTERNAL, f"its result does not decode: {error}")
        failure = task.failure
        if not isinstance(failure, JobFailed):
            raise failure
        failure.job = task.application[2]
        if isinstance(failure, DeadLetter):
            self._letters.append(failure)
        if self._raises:
            raise failure
        return failure

    def look(self, workers: int) -> None:
        """Time has passed: show how far it is."""
        if self._progress is not None:
            self._progress.look(len(self.open), workers)

    def end(self, workers: int) -> None:
        """No more results will be asked for."""
        if self._progress is not None:
            self._progress.close(len(self.open), workers)

    def _check_size(self, payload: Any, buffers: Sequence[Any]) -> None:
        size = len(payload) + sum(memoryview(buffer).nbytes for buffer in buffers)
        if size > self._limits.message or len(buffers) + 4 > self._limits.frames:
            raise MessageTooLarge(
                f"a job of {size} bytes in {len(buffers) + 1} frames; the limit is {self._limits.message} bytes in "
                f"{self._limits.frames - 3} frames (Limits.message, Limits.frames). Send less, or raise it on both sides"
            )


def check_map(window: int, errors: str) -> None:
    """Raises ConfigurationError for arguments of ``map`` that cannot work."""
    if window < 1:
        raise ConfigurationError(f"window={window}: at least one job must be under way")
    if errors not in ("raise", "yield"):
        raise ConfigurationError(f"errors={errors!r}: must be 'raise' or 'yield'")
