"""The ventilator on the blocking driver: an owner thread turns its loop; a run is one ``map`` and what waits for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Any

from ..core.crew import Bundle, Joined, Line, Task
from ..core.ventilator import Ventilator
from ..errors import Closed
from .blocking import Loop
from .owner import Owner
from .pump import Pump

PARTING = 1.0
"""Seconds that closing waits, at most, for workers that were dismissed to say that they heard of it."""


class Run:
    """The tasks of one ``map`` that have ended, for the thread that iterates it."""

    def __init__(self) -> None:
        self.ended: deque[Task | Bundle] = deque()
        self.waits: bool = False
        self.changed: threading.Condition = threading.Condition(threading.Lock())

    def wait(self, seconds: float) -> None:
        """Until a task has ended, at most so long."""
        with self.changed:
            self.waits = True
            if not self.ended:
                self.changed.wait(seconds)
            self.waits = False


class BlockingVentilator:
    """One ventilator and the thread that turns its loop."""

    def __init__(self, machine: Ventilator, pump: Pump) -> None:
        self.machine = machine
        self._joined = threading.Condition()
        self._owner = Owner(Loop(pump, self._deliver, works=True), "zpatterns-pipeline", last=self._last, at_exit=True)
        self._owner.start()

    @property
    def closed(self) -> bool:
        """Whether it has ended, or is about to."""
        return self._owner.stopping

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self._owner.ended

    def lines(self, stages: Sequence[tuple[str, float]]) -> list[Line]:
        """The lines of these stages, by name and timeout."""
        return self._owner.call(lambda: [self.machine.line(*stage) for stage in stages])

    def put(self, tasks: Sequence[Task]) -> None:
        """Start these."""
        self._owner.post(self._put, tasks)

    def cancel(self, route: Sequence[Line]) -> None:
        """Nobody waits for the tasks of this route any more."""
        if not self._owner.stopping:
            self._owner.post(self.machine.cancel_route, route)

    def dismiss(self) -> None:
        """Tell the workers to finish and end."""
        self._owner.call(self.machine.dismiss)

    def wait_for_workers(self, stage: str | None, count: int, timeout: float) -> int:
        """Until so many workers serve a stage; how many do when it is over, in time or not."""
        machine = self.machine
        with self._joined:
            self._joined.wait_for(lambda: self.closed or machine.serving(stage) >= count, timeout)
        return machine.serving(stage)

    def close(self) -> None:
        """End every task with Closed, and close the socket."""
        self._owner.stop()

    def _put(self, tasks: Sequence[Task]) -> None:
        self.machine.put(tasks, monotonic())

    def _changed(self) -> None:
        with self._joined:
            self._joined.notify_all()

    def _deliver(self, event: Any) -> None:
        if event.__class__ is Joined:
            self._changed()
            return
        task: Task = event if event.__class__ is Task else event.tasks[0]
        run: Run = task.application[0]
        run.ended.append(event)
        if run.waits:
            with run.changed:
                run.changed.notify()

    def _last(self, error: BaseException | None) -> None:
        text = "the pipeline was closed" if error is None else f"the pipeline's loop failed: {error}"
        self.machine.close(Closed(text))
        self._changed()
        if error is None:
            # A DEALER with IMMEDIATE loses what it has not read when its connection ends: let the dismissed hear of it.
            loop, until = self._owner.loop, monotonic() + PARTING
            while self.machine.parting and monotonic() < until:
                loop.turn(until=until)
