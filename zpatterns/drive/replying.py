"""The replier on the blocking driver: one thread turns the loop; handlers run on daemon threads or on the loop itself.

``Work`` is what the application gives for one job: how to run it and, for a stream, its parts one by one.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from time import monotonic, sleep
from typing import Any, Protocol

from ..core.calls import Connection, Reopen
from ..core.jobs import THREADS, Credited, Job, Stop
from ..core.machine import Frame, Frames
from ..core.replier import Replier
from ..errors import Status
from .blocking import Loop
from .pump import Pump
from .threads import DaemonThreads

log: logging.Logger = logging.getLogger("zpatterns")

Failure = tuple[Status, str, Mapping[str, Any]]
Answer = tuple[int, Frame, Frames]


class Work(Protocol):
    """The application's side of one job. None of these raises; failures are values."""

    def answer(self, job: Job) -> Answer | list[bytes] | Failure:
        """Run the handler of a unary job."""
        ...

    def parts(self, job: Job) -> Iterator[Answer | Failure]:
        """Run the handler of a stream; a Failure is the last item."""
        ...


def is_failure(result: Any) -> bool:
    """Failures carry a Status in front, answers a codec id or a frame."""
    return type(result) is tuple and isinstance(result[0], Status)


class Gate:
    """Where the thread of a stream waits for credit, and what it has handed in waits for room on the way to its reader."""

    def __init__(self, credit: int) -> None:
        self.handed: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        """The loop's: parts, and the end, in their order."""
        self._credit = credit
        self._stopped = False
        self._changed = threading.Condition()

    def grant(self, parts: int) -> None:
        with self._changed:
            self._credit += parts
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def take(self) -> bool:
        """One part may go; False when nobody reads any more."""
        with self._changed:
            while not self._credit and not self._stopped:
                self._changed.wait()
            self._credit -= 1
            return not self._stopped


PARTING = 0.1
"""Seconds between a server's last words and its close: a DEALER with IMMEDIATE loses what it has not read by then."""

Post = Callable[..., None]


def spoken(machine: Replier) -> int:
    """How many answers of any kind this server has given."""
    counts = machine.statistics
    return counts.answered + counts.failed + counts.refused


def told(name: str, event: Connection) -> None:
    """A worker's connection to a broker changed."""
    log.info("%s: broker %d %s (%s)", name, event.port, "is there" if event.up else "is lost", event.reason)


def finish(machine: Replier, job: Job, result: Any) -> None:
    """Hand a handler's result to the replier: an answer, a failure, plain frames, or None for the end of a stream."""
    if type(result) is tuple:
        answer: Any = result  # pyright: ignore[reportUnknownVariableType]
        if type(answer[0]) is int:
            machine.reply(job, *answer)
        else:
            machine.fail(job, *answer)
    elif result is None:
        machine.end(job)
    else:
        machine.reply_plain(job, result)


def run_on_thread(work: Work, job: Job, post: Post) -> None:
    """On a daemon thread: run one job to its end; ``post(function, ...)`` has the loop call it with the machine."""
    if not job.rule.stream:
        post(finish, job, work.answer(job))
        return
    gate = job.application = Gate(job.credit)
    failure: Any = None
    if job.stopped is None:
        parts: Any = work.parts(job)
        for part in parts:
            if is_failure(part):
                failure = part
                break
            if job.stopped is not None or not gate.take():
                parts.close()
                break
            post(Replier.part, job, *part)
    post(finish, job, failure)


def advance(machine: Replier, job: Job) -> None:
    """An inline stream: as many parts as there is credit and room for, then wait for more."""
    while not job.done and not machine.pauses(job):
        part = next(job.application, None)
        if part is None or is_failure(part):
            finish(machine, job, part)
            return
        machine.part(job, *part)


def hand_in(machine: Replier, action: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """On the loop: what a thread has to say of its job."""
    job: Job = arguments[0]
    if type(job.application) is Gate:
        job.application.handed.append((action, arguments))
        hand_on(machine, job)
    else:
        action(machine, *arguments)


def hand_on(machine: Replier, job: Job) -> None:
    """What the thread of a stream has handed in, as far as there is room."""
    handed = job.application.handed
    while handed:
        action, arguments = handed[0]
        if action is Replier.part and not (job.done or job.stopped) and machine.pauses(job):
            return
        handed.popleft()
        action(machine, *arguments)


class BlockingReplier:
    """One replier and its loop."""

    def __init__(self, machine: Replier, pump: Pump, work: Work, *, threads: int, name: str) -> None:
        self.machine = machine
        self._work = work
        self._name = name
        self._threads = DaemonThreads(threads, name)
        self.loop: Loop = Loop(pump, self._deliver, works=True)

    @property
    def mine(self) -> bool:
        """Whether the calling thread runs one of its handlers."""
        return self._threads.mine

    def serve(self, stopping: Callable[[], bool], grace: Callable[[], float]) -> None:
        """Turn the loop until ``stopping()``; then finish what runs within ``grace`` seconds, and refuse the rest."""
        loop, machine = self.loop, self.machine
        threads = self._threads
        while not stopping():
            loop.turn(alone=not threads.busy)
        said = spoken(machine)
        machine.stop()
        until = monotonic() + grace()
        while machine.running and monotonic() < until and not self.hurried:
            loop.turn(lambda: not machine.running, until)
        machine.abort()
        loop.deliver()
        loop.pump.flush(monotonic())
        if spoken(machine) != said:
            sleep(PARTING)

    hurried = False
    """Set from anywhere (then wake the loop) to give up the grace."""

    def close(self) -> None:
        """Close the sockets; threads that still run a handler are left alone."""
        self._threads.stop()
        self.loop.close()

    def _deliver(self, event: Any) -> None:
        kind = event.__class__
        if kind is Job:
            job: Job = event
            if job.lane == THREADS:
                self._threads.run(run_on_thread, self._work, job, self._post)
            elif job.rule.stream:
                job.application = self._work.parts(job)
                advance(self.machine, job)
            else:
                finish(self.machine, job, self._work.answer(job))
        elif kind is Credited:
            if isinstance(event.job.application, Gate):
                event.job.application.grant(event.parts)
                hand_on(self.machine, event.job)
            elif event.job.application is not None:
                advance(self.machine, event.job)
        elif kind is Stop:
            application = event.job.application
            if isinstance(application, Gate):
                application.stop()
                hand_on(self.machine, event.job)
            elif application is not None:
                application.close()
                self.machine.end(event.job)
        elif kind is Reopen:
            self.loop.reopen(event.port)
        elif kind is Connection:
            told(self._name, event)

    def _post(self, action: Callable[..., None], *arguments: Any) -> None:
        """From a handler's thread."""
        self.loop.post(self._hand_in, action, arguments)

    def _hand_in(self, action: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if action is finish:
            self._threads.finished()
        hand_in(self.machine, action, arguments)
