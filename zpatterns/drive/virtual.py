"""The virtual driver: the same machines as the other two drive, on a seeded clock and a network in memory.

A turn of ``VirtualLoop`` does what a turn of the real loops does, in their order: read what is there, then the links,
then the machine's time, then the application's turn, then send. Nothing here waits, and no chance is left to chance.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ..core.calls import Call, Part, Reopen
from ..core.machine import Link, Machine, Sent
from ..core.replier import Replier
from ..core.requester import Requester
from ..errors import ZPatternsError
from ..policy import Limits
from .virtual_network import VirtualDealer, VirtualRouter
from .virtual_world import World

_REFUSED_PAUSE = 1.0
_NEVER = float("inf")
_JITTER = 0.0003
"""Seconds until a loop gets to what has come in: what comes in meanwhile is read in the same turn."""

Watch = Callable[["VirtualLoop"], None]


def _nothing(_fault: str) -> None:
    pass


class VirtualLoop:
    """One machine in one process, and the sockets of its ports."""

    def __init__(
        self, world: World, name: str, machine: Machine, deliver: Callable[[Any], None], limits: Limits
    ) -> None:
        self.world: World = world
        self.name: str = name
        self.machine: Machine = machine
        self.ports: Sequence[VirtualDealer | VirtualRouter] = ()
        self.dead: bool = False
        self.stalled_until: float = 0.0
        self.stalled_at: float = 0.0
        self.watch: Watch | None = None
        """Called after every turn, when the machine is at rest."""
        self.suffer: Callable[[str], None] = _nothing
        """``crash`` or ``stop``: clients do neither by themselves."""
        self._deliver = deliver
        self._drain = limits.drain
        self._commands: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._full: set[int] = set()
        self._reopen_at: dict[int, float] = {}
        self._turn_at = _NEVER

    def poke(self) -> None:
        """There is something to read, or room to write."""
        self._arm(self.world.now + _JITTER * self.world.random.random())

    def post(self, action: Callable[..., None], *arguments: Any) -> None:
        """Have the loop call ``action`` now, or as soon as it can."""
        self._commands.append((action, arguments))
        self._arm(self.world.now)

    def stall(self, seconds: float) -> None:
        """Do nothing for so long, whatever comes in."""
        now = self.world.now
        if now >= self.stalled_until:
            self.stalled_at = now
        self.stalled_until = max(self.stalled_until, now + seconds)

    def _arm(self, when: float) -> None:
        if when < self._turn_at:
            self._turn_at = when
            self.world.at(when, self._fire, when)

    def _fire(self, when: float) -> None:
        if self.dead or when != self._turn_at:
            return
        self._turn_at = _NEVER
        if self.world.now < self.stalled_until:
            self._arm(self.stalled_until)
        else:
            self.turn()

    def turn(self) -> None:
        """Take in everything that has come, and say everything there is to say."""
        world, machine, now = self.world, self.machine, self.world.now
        at = machine.wakes_at
        received = False
        for index, port in enumerate(self.ports):
            if self._read(index, port):
                received = True
            if port.reports and not (at is not None and at <= now and world.random.random() < 0.5):
                self._links(index, port)  # else the timer was first: asyncio's loop calls back in any order
        at = machine.wakes_at
        if at is not None and at <= now and not (received and world.random.random() < 0.5):
            machine.wake(now)  # else its timer calls back after this
        if self._reopen_at:
            for index in [index for index, when in self._reopen_at.items() if when <= now]:
                del self._reopen_at[index]
                self.reopen(index)
        commands = self._commands
        while True:
            self._hand_over()
            while commands:
                action, arguments = commands.popleft()
                action(*arguments)
                self._hand_over()
            self._flush()
            if self.dead or not (machine.events or commands):
                break
        if self.dead:
            return
        if self.watch is not None:
            self.watch(self)
        at = machine.wakes_at
        if at is not None:
            self._arm(max(at, now))
        if self._reopen_at:
            self._arm(min(self._reopen_at.values()))
        if any(port.inbox or port.reports for port in self.ports):
            self._arm(now)
        if world.trace is not None:
            world.trace("turn", self.name, at)

    def _read(self, index: int, port: VirtualDealer | VirtualRouter) -> bool:
        world, machine = self.world, self.machine
        if index in self._full and port.writable:
            self._full.discard(index)
            port.wants_room = False
            machine.link(index, Link.WRITABLE, world.now)
        inbox = port.inbox
        if not inbox:
            return False
        for _ in range(self._drain):
            if not inbox:
                break
            frames = port.receive()
            if world.trace is not None:
                world.trace("received", self.name, index, *frames)
            machine.receive(index, frames, world.now)
        return True

    def _links(self, index: int, port: VirtualDealer | VirtualRouter) -> None:
        world, machine = self.world, self.machine
        for state in port.links():
            if world.trace is not None:
                world.trace("link", self.name, index, state.name)
            if state is Link.REFUSED:
                self._reopen_at[index] = world.now + _REFUSED_PAUSE
            elif state is Link.UP:
                self._reopen_at.pop(index, None)
            machine.link(index, state, world.now)

    def _hand_over(self) -> None:
        machine = self.machine
        events = machine.events
        machine.dispatch(self.world.now)
        while events and not self.dead:
            self._deliver(events.popleft())
            if not events:
                machine.dispatch(self.world.now)  # a handler that answered at once has made room for the next

    def _flush(self) -> None:
        world, machine = self.world, self.machine
        machine.flush(world.now)
        while machine.outbox and not self.dead:
            index, frames, token = machine.outbox.popleft()
            outcome = self.ports[index].send(frames)
            if world.trace is not None:
                world.trace("sent", self.name, index, outcome and outcome.name, *frames)
            if outcome is not None:
                if outcome is Sent.FULL:
                    self._full.add(index)
                machine.sent(token, outcome, world.now)

    def end(self) -> None:
        """Say what there is to say, and never turn again."""
        self._hand_over()
        self._flush()
        self.dead = True

    def reopen(self, index: int) -> None:
        """A fresh socket for one port."""
        self.ports[index].reopen()
        self._full.discard(index)
        self.machine.link(index, Link.DOWN, self.world.now)


class VirtualRequester:
    """A client: one requester on its loop. ``call.application`` hears of its calls, as on the real drivers."""

    def __init__(
        self, world: World, name: str, machine: Requester, addresses: Sequence[str], limits: Limits | None = None
    ) -> None:
        self.machine: Requester = machine
        self.loop: VirtualLoop = VirtualLoop(world, name, machine, self._deliver, limits or Limits())
        self.loop.ports = [VirtualDealer(world, self.loop, address) for address in addresses]

    def submit(self, call: Call) -> None:
        """Start a call; its ``application`` hears of it."""
        self.loop.post(self._start, call)

    def cancel(self, call: Call) -> None:
        """Nobody waits for this call any more."""
        self.loop.post(self._drop, call)

    def read(self, call: Call) -> None:
        """One part of a stream was taken."""
        self.loop.post(self._read, call)

    def close(self) -> None:
        """End every call and close the sockets."""
        self.loop.post(self._shut)

    def _start(self, call: Call) -> None:
        if call.done:
            return
        try:
            self.machine.start(call)
        except ZPatternsError as error:
            call.failure = error
            call.done = True
            call.application(call)

    def _drop(self, call: Call) -> None:
        if call.id:
            self.machine.cancel(call)
        call.done = True

    def _read(self, call: Call) -> None:
        self.machine.read(call, self.loop.world.now)

    def _deliver(self, event: Any) -> None:
        if isinstance(event, Call):
            event.application(event)
        elif isinstance(event, Part):
            event.call.application(event)
        elif isinstance(event, Reopen):
            self.loop.reopen(event.port)

    def _shut(self) -> None:
        loop = self.loop
        self.machine.close()
        loop.end()
        for port in loop.ports:
            port.close()


class VirtualReplier:
    """A server from its start to its death: one replier on its loop. ``handle`` gets Job, Stop and Credited."""

    def __init__(
        self, world: World, name: str, machine: Replier, address: str, handle: Callable[[Any], None], limits: Limits
    ) -> None:
        self.machine: Replier = machine
        self.loop: VirtualLoop = VirtualLoop(world, name, machine, handle, limits)
        self.router: VirtualRouter = VirtualRouter(world, self.loop, address)
        self.loop.ports = [self.router]
        self.over: Callable[[VirtualReplier], None] | None = None
        """Called when it is gone: somebody may start the next incarnation."""
        self.loop.suffer = self._suffer

    def _suffer(self, fault: str) -> None:
        if fault == "crash":
            self.crash()
        else:
            self.stop()

    def post(self, action: Callable[..., None], *arguments: Any) -> None:
        """Hand in what a handler has to say; a server that died hears nothing."""
        if not self.loop.dead:
            self.loop.post(action, *arguments)

    def crash(self) -> None:
        """kill -9."""
        if not self.loop.dead:
            self.loop.dead = True
            self.router.close(died=True)
            self._gone()

    def stop(self, grace: float = 0.5) -> None:
        """SIGTERM: take nothing more, finish what runs within ``grace`` seconds, refuse the rest."""
        if not self.loop.dead and not self.machine.stopping:
            self.loop.post(self.machine.stop)
            self.loop.world.after(grace, self._abort)

    def _abort(self) -> None:
        if not self.loop.dead:
            self.loop.post(self.machine.abort)
            self.loop.post(self._leave)

    def _leave(self) -> None:
        self.loop.end()
        self.router.close()
        self._gone()

    def _gone(self) -> None:
        world = self.loop.world
        if world.trace is not None:
            world.trace("gone", self.loop.name)
        if self.over is not None:
            self.over(self)
