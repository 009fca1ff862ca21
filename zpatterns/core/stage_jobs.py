"""A worker's data: the jobs of one message, one of them from its start to its answer, and a stage with what waits for it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from ..errors import DecodeError
from ..wire import jobs as j, message as w
from .jobs import Rule, Why
from .machine import Frame, Frames


class Parcel:
    """The jobs that one message brought, as they came: whoever runs them opens it."""

    __slots__ = ("_split", "buffers", "count", "expires_at", "header", "payload", "values")

    def __init__(
        self,
        header: w.Request,
        count: int,
        payload: Frame,
        buffers: Frames,
        split: list[bytes] | None,
        expires_at: float,
    ) -> None:
        self.header: w.Request = header
        self.count: int = count
        self.payload: Frame = payload
        """Of one job; of several an array of theirs."""
        self.buffers: Frames = buffers
        self.expires_at: float = expires_at
        self.values: Any = None
        """For the application: what it has decoded."""
        self._split: list[bytes] | None = split

    def rest(self, index: int) -> Frames:
        """Payload and buffers of one job; of an array that is none, nothing, which does not decode."""
        if self.count == 1:
            return (self.payload, *self.buffers)
        if self._split is None:
            try:
                self._split = j.split(self.header.codec, self.count, self.payload)
            except DecodeError:
                self._split = [b""] * self.count
        return (self._split[index],)


class StageJob:
    """One job at the worker."""

    __slots__ = ("application", "done", "id", "index", "parcel", "stage", "stopped")

    def __init__(self, job_id: int, index: int, stage: Stage, parcel: Parcel) -> None:
        self.id: int = job_id
        self.index: int = index
        """Its place in the parcel."""
        self.stage: Stage = stage
        self.parcel: Parcel = parcel
        self.stopped: Why | None = None
        self.done: bool = False
        self.application: Any = None
        """Whatever the driver wants to find again: a task."""

    @property
    def rule(self) -> Rule:
        """Of its stage."""
        return self.stage.rule

    @property
    def header(self) -> w.Request:
        """What a handler's context looks into."""
        return self.parcel.header

    @property
    def rest(self) -> Frames:
        """Payload and buffers."""
        return self.parcel.rest(self.index)

    @property
    def expires_at(self) -> float:
        """When it goes to another worker."""
        return self.parcel.expires_at

    @property
    def method(self) -> str:
        """The name of its stage."""
        return self.parcel.header.method


class Stage:
    """A stage as its worker sees it: its rule, how many of it run at once, those that wait, and what is done."""

    __slots__ = ("codec", "concurrency", "ids", "payloads", "rule", "running", "waiting")

    def __init__(self, rule: Rule, concurrency: int) -> None:
        self.rule: Rule = rule
        self.concurrency: int = concurrency
        self.running: int = 0
        self.waiting: deque[StageJob] = deque()
        self.codec: int = 0
        """Of the results below."""
        self.ids: list[int] = []
        self.payloads: list[bytes] = []


@dataclass(slots=True)
class Begin:
    """Event: run the handler of these jobs, which are of one stage."""

    jobs: list[StageJob]


@dataclass(frozen=True, slots=True)
class Halt:
    """Event: tell the handler of this job that nobody waits any more."""

    job: StageJob


@dataclass(frozen=True, slots=True)
class Dismissed:
    """Event: the ventilator has no more work; finish and end."""
