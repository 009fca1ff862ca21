"""A ventilator and its workers on the virtual driver: the machines of a real pipeline, in a world that can be replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core.calls import Reopen
from ..core.crew import Bundle, Task
from ..core.machine import Link
from ..core.ventilator import Ventilator
from ..core.worker import StageWorker
from ..policy import Limits
from .virtual import VirtualLoop
from .virtual_network import VirtualDealer, VirtualRouter, Wire
from .virtual_world import World


class WatchedVirtualRouter(VirtualRouter):
    """A ROUTER that says DOWN when some connection has ended, as `WatchedRouter` does."""

    reports: Sequence[Link] = ()

    def lost(self, wire: Wire) -> None:
        """This end has noticed."""
        super().lost(wire)
        self.reports = (Link.DOWN,)
        self.process.poke()

    def links(self) -> list[Link]:
        """One DOWN for all."""
        reports, self.reports = self.reports, ()
        return list(reports)


class VirtualVentilator:
    """One ventilator on its loop. ``ended`` gets each task that has, its result, if it has one, in its payload."""

    def __init__(
        self, world: World, machine: Ventilator, address: str, ended: Callable[[Task], None], limits: Limits
    ) -> None:
        self.machine: Ventilator = machine
        self._ended = ended
        self.loop: VirtualLoop = VirtualLoop(world, "ventilator", machine, self._deliver, limits)
        self.router: WatchedVirtualRouter = WatchedVirtualRouter(world, self.loop, address)
        self.loop.ports = [self.router]

    def _deliver(self, event: Any) -> None:
        if isinstance(event, Bundle):
            for task, payload in zip(event.tasks, event.split(), strict=True):
                task.payload = payload
                self._ended(task)
        elif isinstance(event, Task):
            self._ended(event)


class VirtualWorker:
    """A worker from its start to its death. ``handle`` gets Begin, Halt and Dismissed."""

    def __init__(
        self,
        world: World,
        name: str,
        machine: StageWorker,
        address: str,
        handle: Callable[[Any], None],
        limits: Limits,
        over: Callable[[VirtualWorker], None],
    ) -> None:
        self.machine: StageWorker = machine
        self.over: Callable[[VirtualWorker], None] = over
        """Called when it is gone: somebody may start the next."""
        self._handle = handle
        self.loop: VirtualLoop = VirtualLoop(world, name, machine, self._deliver, limits)
        self.dealer: VirtualDealer = VirtualDealer(world, self.loop, address)
        self.loop.ports = [self.dealer]
        self.loop.poke()

    def post(self, action: Callable[..., None], *arguments: Any) -> None:
        """Hand in what a handler has to say; a worker that died hears nothing."""
        if not self.loop.dead:
            self.loop.post(action, *arguments)

    def crash(self) -> None:
        """kill -9: what it had sent may get through in part, and who was connected notices soon, or late."""
        if self.loop.dead:
            return
        self.loop.dead = True
        world, wire = self.loop.world, self.dealer.wire
        if wire is not None:
            faults = world.faults
            wire.cut((0.0, 0.0), faults.keepalive if world.random.random() < 0.2 else faults.notice)
        self.dealer.close()
        self.over(self)

    def stop(self, grace: float = 0.5) -> None:
        """SIGTERM: take nothing more, finish what runs within ``grace`` seconds."""
        if not self.loop.dead and not self.machine.leaving:
            self.loop.post(self.machine.stop)
            self.loop.world.after(grace, self._leave)

    def _leave(self) -> None:
        if not self.loop.dead:
            self.loop.post(self.machine.abort)
            self.loop.post(self._end)

    def _end(self) -> None:
        if self.loop.dead:  # told twice while it stood still
            return
        self.loop.end()
        self.dealer.close()
        self.over(self)

    def _deliver(self, event: Any) -> None:
        if isinstance(event, Reopen):
            self.loop.reopen(event.port)
        else:
            self._handle(event)
