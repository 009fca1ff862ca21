"""``VirtualWorld``: a server's handlers and their clients on a clock of their own, with the faults you ask for, by seed.

An hour passes in a second, nothing is left to chance, and the same seed tells the same story again.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from time import monotonic
from types import TracebackType
from typing import Any, Self

from .._shell.calls import Maker, checked_timeout
from .._shell.guards import ForkGuard
from .._shell.handlers import Handlers, rules_of
from .._shell.operations import check_served, operations
from .._shell.work import HandlerWork
from ..codec import Codec
from ..core.calls import Call, Part
from ..core.jobs import Credited, Job, ReplyServerStatistics, Stop
from ..core.replier import Replier
from ..core.requester import Requester
from ..drive.replying import advance, finish
from ..drive.virtual import VirtualReplier, VirtualRequester
from ..drive.virtual_world import Faults, Span, World
from ..errors import Closed, ConfigurationError, RequestTimeout
from ..policy import DEFAULT_TIMEOUT, Limits, Retry
from ..sync.request import RequestClient, Stream

Trace = Callable[..., None]
_ADDRESS = "virtual"
_FOREVER = 10 * 365 * 86_400.0
_TIME: Span = (0.0, 0.0)


class VirtualWorld:
    """A server in memory, on a virtual clock, with seeded faults; ``client()`` makes as many clients as you like.

    ::

        world = VirtualWorld(server, seed=7, faults=Faults(disconnect=0.05, crash=0.01))
        with world, world.client(timeout=5.0) as client:
            futures = [client.submit(ADD, Add(a=n, b=1)) for n in range(1000)]
            world.run(60.0)  # a minute, in milliseconds

    The handlers are the server's own, called with decoded and validated bodies; so are retries, deadlines, dedupe and
    streams, byte for byte what goes over a socket. A handler runs when its job is dispatched, and takes ``handler_time``
    virtual seconds (least, most) until its answer is sent. A server that crashes comes back within ``faults.down_for``,
    as a new incarnation with the same handlers. ``ctx.deadline`` is on the world's clock: compare it with ``world.now``.

    ``async def`` handlers need a loop and its clock, so they are refused. ``trace`` is called with whatever happens.
    """

    def __init__(
        self,
        server: Handlers,
        /,
        *,
        seed: int = 0,
        faults: Faults | None = None,
        handler_time: Span = _TIME,
        trace: Trace | None = None,
    ) -> None:
        check_served(server)
        waits = [handler.name or "the plain one" for handler in server._handlers.values() if handler.is_async]
        if waits:
            raise ConfigurationError(
                f"VirtualWorld runs 'def' handlers; {waits[0]!r} is 'async def', whose clock is its loop's: use TestServer"
            )
        given: Any = server
        self._given = server
        self._limits: Limits = given._limits
        self._threads: int = given._thread_count
        self._work = HandlerWork(given._exceptions, self._limits)
        self._handler_time = handler_time
        self._world = World(seed, faults, trace)
        self._server: VirtualReplier | None = None
        self._machine: Replier | None = None
        self._clients = 0
        self._closed = False
        self.seed: int = seed
        self.incarnations: int = 0
        """How often the server has started."""
        self._start()

    # -- time -----------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """The virtual clock, in seconds."""
        return self._world.now

    def run(self, seconds: float) -> None:
        """Let so much time pass, and everything that is due in it happen."""
        self._world.run(self._world.now + seconds)

    def until(self, condition: Callable[[], object], timeout: float = 3600.0) -> None:
        """Let time pass until a condition holds. Raises RequestTimeout after so many virtual seconds."""
        over = self._world.now + timeout
        while not condition():
            if not self._world.step(over):
                raise RequestTimeout(f"not within {timeout} virtual seconds: {condition}", sent=False)

    # -- faults ---------------------------------------------------------------------------------------------------------

    def set_faults(self, faults: Faults) -> None:
        """From now on, these."""
        self._world.set_faults(faults)

    def crash(self) -> None:
        """kill -9 of the server; it comes back within ``faults.down_for``."""
        if self._server is not None:
            self._server.crash()

    def stop(self, grace: float = 0.5) -> None:
        """SIGTERM for the server: it finishes within ``grace`` seconds, and comes back as a new one."""
        if self._server is not None:
            self._server.stop(grace)

    @property
    def server_statistics(self) -> ReplyServerStatistics:
        """Counters of the present incarnation of the server, or of the last."""
        return self._machine.statistics if self._machine is not None else ReplyServerStatistics()

    # -- clients --------------------------------------------------------------------------------------------------------

    def client(
        self, *, timeout: float = DEFAULT_TIMEOUT, retry: Retry | None = None, limits: Limits | None = None
    ) -> RequestClient:
        """A client: ``request`` lets time pass until it has its reply, ``submit`` returns at once, futures pass time too."""
        if self._closed:
            raise Closed("this virtual world has ended; make a new one")
        self._clients += 1
        return _Client(self, f"client {self._clients}", timeout, retry or Retry(), limits or Limits())

    def close(self) -> None:
        """The end of this world. Idempotent."""
        self._closed = True
        if self._server is not None:
            self._server.over = None
            self._server.crash()
            self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # -- the server -----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._closed:
            return
        self.incarnations += 1
        handlers = {**self._given._handlers, **operations(self._given, lambda: machine, monotonic())}
        machine = Replier(
            rules_of(handlers),
            incarnation=self._world.random.getrandbits(64).to_bytes(8, "big"),
            threads=self._threads,
            limits=self._limits,
        )
        self._machine = machine
        name = f"server {self.incarnations}"
        self._server = VirtualReplier(self._world, name, machine, _ADDRESS, _Dispatcher(self, machine), self._limits)
        self._server.over = self._restart

    def _restart(self, _: VirtualReplier) -> None:
        self._server = None
        self._world.after(self._world.span(self._world.faults.down_for), self._start)


class _Dispatcher:
    """What one incarnation does with its jobs: the answers of a server that has died are never heard."""

    def __init__(self, owner: VirtualWorld, machine: Replier) -> None:
        self._owner = owner
        self._machine = machine

    def __call__(self, event: Any) -> None:
        machine, work = self._machine, self._owner._work
        if isinstance(event, Stop | Credited):
            job = event.job
            if job.application is not None and not job.done:
                if job.stopped is None:
                    advance(machine, job)
                else:
                    job.application.close()
                    machine.end(job)
            return
        job = event if isinstance(event, Job) else event.job
        if job.rule.stream:
            job.application = work.parts(job)
            self._later(advance, machine, job)
        else:
            self._later(finish, machine, job, work.answer(job))

    def _later(self, action: Callable[..., None], machine: Replier, job: Job, *rest: Any) -> None:
        owner = self._owner
        if owner._handler_time == _TIME or (job.method or "").startswith("zp."):
            action(machine, job, *rest)
            return
        server = owner._server

        def hand_in() -> None:
            if server is not None and not job.done:
                server.post(action, machine, job, *rest)

        owner._world.after(owner._world.span(owner._handler_time), hand_in)


class _Client(RequestClient):
    """The client users know, on the world's clock."""

    def __init__(self, owner: VirtualWorld, name: str, timeout: float, retry: Retry, limits: Limits) -> None:
        world = owner._world
        self._owner = owner
        self._maker = _Maker(world, timeout=timeout, retry=retry, limits=limits)
        self._endpoints = [_ADDRESS]
        self._fork = ForkGuard("RequestClient")
        prefix = world.random.getrandbits(64).to_bytes(8, "big")
        machine = Requester(1, prefix=prefix, random=world.random.random, retry=retry, limits=limits)
        self._driver = _Driver(owner, VirtualRequester(world, name, machine, [_ADDRESS], limits))
        self._requester: Any = self._driver
        finalizer: Any = weakref.finalize(self, _nothing)  # it owns nothing that would outlive it
        self._finalizer = finalizer

    def submit(self, *arguments: Any, **options: Any) -> Any:
        """As ``RequestClient.submit``; the future's ``result()`` lets virtual time pass."""
        future: Any = super().submit(*arguments, **options)
        return _timely(future, self._owner)

    def stream(self, *arguments: Any, **options: Any) -> Any:
        """As ``RequestClient.stream``; reading lets virtual time pass."""
        stream: Any = super().stream(*arguments, **options)
        stream.__class__ = _Stream
        return stream


class _Stream(Stream[Any]):
    """The stream users know, read while virtual time passes."""

    def __next__(self) -> Any:
        driver: Any = self._requester
        driver.owner.until(lambda: self._parts or self._ended or self._closed)
        return super().__next__()


class _Maker(Maker):
    """Deadlines on the world's clock."""

    def __init__(self, world: World, *, timeout: float, retry: Retry, limits: Limits) -> None:
        super().__init__(timeout=timeout, retry=retry, limits=limits)
        self._world = world

    def _seconds(self, timeout: float | None) -> float:
        return self.timeout if timeout is None else checked_timeout(timeout)

    def unary(
        self,
        method: Any,
        body: Any,
        reply: Any,
        timeout: float | None,
        headers: Mapping[str, str] | None,
        *,
        idempotent: bool | None,
        wait_for_ready: bool,
    ) -> tuple[Call, Codec[Any]]:
        """As its parent."""
        call, codec = super().unary(
            method, body, reply, timeout, headers, idempotent=idempotent, wait_for_ready=wait_for_ready
        )
        call.deadline = self._world.now + self._seconds(timeout)
        return call, codec

    def stream(
        self,
        method: Any,
        body: Any,
        part: Any,
        timeout: float | None,
        deadline: float | None,
        headers: Mapping[str, str] | None,
    ) -> tuple[Call, Codec[Any]]:
        """As its parent."""
        call, codec = super().stream(method, body, part, timeout, deadline, headers)
        now = self._world.now
        call.deadline = now + (_FOREVER if deadline is None else checked_timeout(deadline))
        call.quiet_at = now + self._seconds(timeout)
        return call, codec

    def plain(self, body: Any, timeout: float | None, envelope: str, *, idempotent: bool) -> Call:
        """As its parent."""
        call = super().plain(body, timeout, envelope, idempotent=idempotent)
        call.deadline = self._world.now + self._seconds(timeout)
        return call


class _Driver:
    """What ``RequestClient`` asks of its driver."""

    def __init__(self, owner: VirtualWorld, requester: VirtualRequester) -> None:
        self.owner = owner
        self.machine: Requester = requester.machine
        self.closed = False
        self._requester = requester

    def run(self, call: Call) -> None:
        call.application = _ignore
        self.submit(call)
        self.owner.until(lambda: call.done)

    def submit(self, call: Call) -> None:
        self._requester.submit(call)

    def cancel(self, call: Call) -> None:
        if not self.closed and not call.done:
            self._requester.cancel(call)

    def read(self, call: Call) -> None:
        if not self.closed:
            self._requester.read(call)

    def close(self) -> None:
        if not self.closed:
            self._requester.close()
            self.owner.run(0.0)
            self.closed = True


def _timely(future: Any, owner: VirtualWorld) -> Future[Any]:
    result, exception = future.result, future.exception

    def passing(ask: Callable[..., Any]) -> Callable[..., Any]:
        def asked(timeout: float | None = None) -> Any:
            owner.until(future.done, 3600.0 if timeout is None else timeout)
            return ask(0)

        return asked

    future.result = passing(result)
    future.exception = passing(exception)
    found: Future[Any] = future
    return found


def _ignore(_: Call | Part) -> None:
    pass


def _nothing() -> None:
    pass
