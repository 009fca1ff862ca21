"""Pub/sub as libzmq does it, in memory: filters at the publisher, a pipe for each subscriber, drops at its high-water mark.

Within a connection nothing is reordered or doubled. A connection that breaks takes with it what is under way; the next one
begins with all subscriptions again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from zpatterns.core.machine import Frames, Link
from zpatterns.drive.virtual_world import World

LATENCY = (0.0002, 0.002)
RECONNECT = (0.005, 0.3)


class Node:
    """A machine and the loop that turns it: what comes in meanwhile is read in the same turn."""

    def __init__(self, world: World, machine: Any, deliver: Callable[[Any], None]) -> None:
        self.world = world
        self.machine = machine
        self.inbox: deque[tuple[int, Frames]] = deque()
        self.links: deque[tuple[int, Link]] = deque()
        self.out: Callable[[int, Frames], None] = lambda port, frames: None
        self.took: Callable[[int, Frames], None] = lambda port, frames: None
        self.told: Callable[[int, Link], None] = lambda port, state: None
        self.stalled_until = 0.0
        self.dead = False
        self._deliver = deliver
        self._turn_at = float("inf")

    def poke(self) -> None:
        self.arm(self.world.now + 0.0003 * self.world.random.random())

    def arm(self, when: float) -> None:
        when = max(when, self.stalled_until)
        if when < self._turn_at:
            self._turn_at = when
            self.world.at(when, self._fire, when)

    def _fire(self, when: float) -> None:
        if when != self._turn_at or self.dead:
            return
        self._turn_at = float("inf")
        if self.world.now < self.stalled_until:
            self.arm(self.stalled_until)
        else:
            self.turn()

    def _trace(self, what: str, *details: Any) -> None:
        if self.world.trace is not None:
            self.world.trace(what, type(self.machine).__name__, self.world.now, *details)

    def turn(self) -> None:
        machine, now = self.machine, self.world.now
        while self.links:
            port, state = self.links.popleft()
            self._trace("link", port, state.name)
            machine.link(port, state, now)
            self.told(port, state)
        while self.inbox and machine.expects:
            port, frames = self.inbox.popleft()
            self._trace("received", port, *frames)
            machine.receive(port, frames, now)
            self.took(port, frames)
        if machine.wakes_at is not None and machine.wakes_at <= now:
            machine.wake(now)
        machine.dispatch(now)
        while machine.events:
            self._deliver(machine.events.popleft())
        machine.flush(now)
        while machine.outbox:
            port, frames, _ = machine.outbox.popleft()
            self._trace("sent", port, *frames)
            self.out(port, frames)
        if machine.wakes_at is not None:
            self.arm(max(machine.wakes_at, now))
        if self.inbox and machine.expects:
            self.arm(now)


class Pipe:
    """One connection from a subscriber's port to a publisher, with its reconnects."""

    def __init__(self, world: World, publisher: Node, subscriber: Node, port: int, high_water_mark: int) -> None:
        self.world = world
        self.publisher = publisher
        self.subscriber = subscriber
        self.port = port
        self.high_water_mark = high_water_mark
        self.wanted: dict[bytes, None] = {}
        """What the subscriber's socket subscribes to, sent again on each connection."""
        self.filters: dict[bytes, None] = {}
        """What the publisher's socket knows of it."""
        self.up = False
        self.life = 0
        self.under_way = 0
        self._free_at = [0.0, 0.0]
        self._later(RECONNECT, self._connect)

    def _later(self, span: tuple[float, float], action: Callable[..., None], *arguments: Any) -> None:
        self.world.after(self.world.span(span), action, *arguments)

    def _connect(self) -> None:
        if self.publisher.dead or self.up:
            return
        self.up = True
        self.subscriber.links.append((self.port, Link.UP))
        self.subscriber.poke()
        for prefix in self.wanted:
            self._send_up(b"\1" + prefix)

    def cut(self) -> None:
        """It breaks: what is under way is lost, and so is what the publisher knew."""
        if not self.up:
            return
        self.up = False
        self.life += 1
        self.under_way = 0
        for prefix in self.filters:
            self.publisher.inbox.append((0, [b"\0" + prefix]))
        self.filters.clear()
        self.publisher.poke()
        self.subscriber.links.append((self.port, Link.DOWN))
        self.subscriber.poke()
        self._later(RECONNECT, self._connect)

    def meet(self, publisher: Node) -> None:
        """Another publisher has bound the address."""
        self.publisher = publisher
        if not self.up:
            self._later(RECONNECT, self._connect)

    def subscribe(self, change: bytes) -> None:
        """From the subscriber's machine."""
        if change[:1] == b"\1":
            self.wanted[change[1:]] = None
        else:
            self.wanted.pop(change[1:], None)
        if self.up:
            self._send_up(change)

    def _send_up(self, change: bytes) -> None:
        self.world.at(self._when(0), self._come_up, change, self.life)

    def _when(self, lane: int) -> float:
        """In order: never before what was sent before."""
        when = max(self._free_at[lane], self.world.now + self.world.span(LATENCY))
        self._free_at[lane] = when
        return when

    def _come_up(self, change: bytes, life: int) -> None:
        if life != self.life or self.publisher.dead:
            return
        if change[:1] == b"\1":
            self.filters[change[1:]] = None
        else:
            self.filters.pop(change[1:], None)
        self.publisher.inbox.append((0, [change]))
        self.publisher.poke()

    def publish(self, frames: Frames) -> bool:
        """From the publisher's socket: dropped without a word where the pipe is full. True if it went."""
        topic = bytes(frames[0])
        if not self.up or not any(topic.startswith(prefix) for prefix in self.filters):
            return False
        if self.under_way + len(self.subscriber.inbox) >= self.high_water_mark:
            return False
        self.under_way += 1
        self.world.at(self._when(1), self._come_down, list(frames), self.life)
        return True

    def _come_down(self, frames: Frames, life: int) -> None:
        if life == self.life:
            self.under_way -= 1
            self.subscriber.inbox.append((self.port, frames))
            self.subscriber.poke()
