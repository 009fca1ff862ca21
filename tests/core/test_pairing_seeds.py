"""Two ends and the PAIR sockets between them, by seed: connections that break and swallow, peers that come too many.

The link does what libzmq's was seen to do: one peer at a time, chosen when the connection is made; others are accepted and
dropped until they try again. Checked: order, nothing twice, what is missing is counted, and in the end somebody is paired.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest

from zpatterns.core.calls import Reopen
from zpatterns.core.machine import Frames, Link, Sent
from zpatterns.core.pairing import Pairing, Peer, Received, frames_of

SEEDS = 500


class Wire:
    """One connection: frames under way, either way. ``holed``: the bound socket has another."""

    def __init__(self, end: End, *, holed: bool) -> None:
        self.end, self.holed, self.alive = end, holed, True
        self.there: deque[Frames] = deque()
        self.back: deque[Frames] = deque()


class End:
    def __init__(self, name: int, *, accepts: bool) -> None:
        self.machine = Pairing(incarnation=b"end-%04d" % name, accepts=accepts, patience=1.0, backoff=(0.1, 0.4))
        self.wire: Wire | None = None
        self.got: list[tuple[bytes, int]] = []
        self.counter = 0
        self.name = name


class World:
    def __init__(self, seed: int, ends: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.bound = End(0, accepts=True)
        self.ends = [End(number, accepts=False) for number in range(1, ends + 1)]
        self.wires: list[Wire] = []
        self.peer: Wire | None = None
        for end in self.ends:
            self.connect(end)

    def connect(self, end: End) -> None:
        wire = end.wire = Wire(end, holed=self.peer is not None)
        self.wires.append(wire)
        if not wire.holed:
            self.peer = wire
        self.bound.machine.link(0, Link.SECOND if wire.holed else Link.UP, self.now)
        end.machine.link(0, Link.UP, self.now)

    def cut(self, wire: Wire) -> None:
        """Both are told; what is under way is lost, but what came in before is read."""
        if not wire.alive:
            return
        wire.alive = False
        if wire is self.peer:
            keep = self.random.randint(0, len(wire.there))
            for _ in range(keep):
                self.bound.machine.receive(0, wire.there.popleft(), self.now)
            self.peer = None
            self.bound.machine.link(0, Link.DOWN, self.now)
        wire.end.wire = None
        wire.end.machine.link(0, Link.DOWN, self.now)

    def put(self, end: End) -> None:
        machine = end.machine
        machine.flush(self.now)
        while machine.outbox:
            _, frames, token = machine.outbox.popleft()
            wire = self.peer if end is self.bound else end.wire
            if wire is None or (len(wire.back if end is self.bound else wire.there) > 5 and self.random.random() < 0.5):
                machine.sent(token, Sent.FULL, self.now)
            elif not wire.holed:
                (wire.back if end is self.bound else wire.there).append(frames)
        machine.settle()
        while machine.events:
            event: Any = machine.events.popleft()
            if isinstance(event, Received):
                sender, _, number = bytes(event.frames[0]).partition(b":")
                end.got.append((sender, int(number)))
            elif isinstance(event, Reopen):
                if end.wire is not None:
                    self.cut(end.wire)
                else:
                    machine.link(0, Link.DOWN, self.now)
                self.connect(end)

    def step(self, *, faults: bool) -> None:
        rng = self.random
        self.now += rng.choice((0.0, 0.01, 0.3))
        everybody = [self.bound, *self.ends]
        for end in everybody:
            at = end.machine.wakes_at
            if at is not None and at <= self.now:
                end.machine.wake(self.now)
            if end.machine.paired and rng.random() < 0.4:
                end.counter += 1
                end.machine.send(frames_of(3, b"%d:%d" % (end.name, end.counter), ()))
            if rng.random() < 0.5:
                end.machine.link(0, Link.WRITABLE, self.now)
            self.put(end)
        if self.peer is not None:
            wire = self.peer
            for queue, machine in ((wire.there, self.bound.machine), (wire.back, wire.end.machine)):
                for _ in range(rng.randint(0, 4)):
                    if queue and wire.alive:
                        machine.receive(0, queue.popleft(), self.now)
            for end in everybody:
                self.put(end)
        if faults and rng.random() < 0.1 and self.wires:
            self.cut(rng.choice(self.wires))
        for end in self.ends:
            if end.wire is None and rng.random() < 0.3:
                self.connect(end)
        self.wires = [wire for wire in self.wires if wire.alive]
        for end in everybody:
            self.put(end)


def check(world: World) -> None:
    """Whoever is paired with whom, everything it sent was received or counted as missed."""
    bound = world.bound
    for end in (bound, *world.ends):
        for sender in {sender for sender, _ in end.got}:
            numbers = [number for who, number in end.got if who == sender]
            assert numbers == sorted(set(numbers)), "out of order, or twice"
        assert end.machine.statistics.received == len(end.got)
        assert end.machine.statistics.sent + len(end.machine.queue) == end.counter


@pytest.mark.parametrize("ends", [1, 3])
@pytest.mark.parametrize("block", range(5))
def test_seeds(ends: int, block: int) -> None:
    for seed in range(block * SEEDS // 5, (block + 1) * SEEDS // 5):
        world = World(seed, ends)
        try:
            for _ in range(60):
                world.step(faults=True)
                check(world)
            for _ in range(100):  # no more faults, nobody sends: all of it arrives
                world.step(faults=False)
            check(world)
            paired = [end for end in world.ends if end.machine.paired]
            assert len(paired) == 1
            assert world.bound.machine.paired
            if ends == 1:
                settle(world)
                there, back = world.ends[0], world.bound
                for sender, receiver in ((there, back), (back, there)):
                    counts = receiver.machine.statistics
                    assert counts.received + counts.missed == sender.machine.statistics.sent, seed
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {ends} ends") from error


def settle(world: World) -> None:
    """Both say farewell, and tell how many they have sent."""
    for end in (world.bound, *world.ends):
        while end.machine.queue:
            end.machine.link(0, Link.WRITABLE, world.now)
            world.put(end)
            world.random = random.Random(0)
            wire = world.peer
            assert wire is not None
            while wire.there:
                world.bound.machine.receive(0, wire.there.popleft(), world.now)
            while wire.back:
                wire.end.machine.receive(0, wire.back.popleft(), world.now)
        end.machine.close()
    for _ in range(20):
        wire = world.peer
        assert wire is not None
        for end in (world.bound, *world.ends):
            end.machine.link(0, Link.WRITABLE, world.now)
            world.put(end)
        while wire.there:
            world.bound.machine.receive(0, wire.there.popleft(), world.now)
        while wire.back:
            wire.end.machine.receive(0, wire.back.popleft(), world.now)
    for end in (world.bound, *world.ends):
        world.put(end)
        assert end.machine.answered


class Near:
    """One end over inproc: a pipe that holds so much, never breaks, and tells nobody when its end is closed."""

    def __init__(self, name: int, rng: random.Random, *, accepts: bool) -> None:
        self.mark = rng.choice((1, 3, 20))
        self.room = rng.choice((1, 3, 20))
        self.machine = Pairing(
            incarnation=b"near%04d" % name, accepts=accepts, linked=False, lasting=False, high_water_mark=self.mark
        )
        self.out: deque[Frames] = deque()
        self.full = False
        self.gone = False
        self.entered = 0
        self.unread = 0
        self.got: list[int] = []
        self.farewells = 0
        self.linger = rng.randint(0, 12)
        """Steps that close() waits."""

    def send(self, count: int) -> None:
        for _ in range(count):
            self.entered += 1
            self.machine.send(frames_of(1, b"%d" % self.entered, ()))

    def turn(self, other: Near, now: float) -> None:
        """As the driver does it: what has come, what it asks for, what it says."""
        machine = self.machine
        if self.full and len(self.out) < self.room and not other.gone:
            self.full = False
            machine.link(0, Link.WRITABLE, now)
        while other.out and machine.expects:
            machine.receive(0, other.out.popleft(), now)
        if other.gone and not other.out and machine.peer:
            machine.gone(now)
        at = machine.wakes_at
        if at is not None and at <= now:
            machine.wake(now)
        self.deliver()
        machine.flush(now)
        while machine.outbox:
            _, frames, token = machine.outbox.popleft()
            if len(self.out) < self.room and not other.gone:
                self.out.append(frames)
            else:
                self.full = True
                machine.sent(token, Sent.FULL, now)
        machine.settle()
        self.deliver()

    def deliver(self) -> None:
        while self.machine.events:
            event = self.machine.events.popleft()
            if isinstance(event, Received):
                self.unread += 1
                self.got.append(int(bytes(event.frames[0])))
            elif isinstance(event, Peer):
                self.farewells += event.closed
            else:
                raise AssertionError(event)

    def read(self, count: int) -> None:
        self.unread -= count
        self.machine.read(count)

    def end(self) -> None:
        """As close() does: wait for room, then for the answer; and go."""
        machine = self.machine
        self.linger -= 1
        if not machine.closed and (self.linger <= 0 or not (machine.paired and machine.queue)):
            machine.close()
        elif machine.closed and (self.linger <= 0 or machine.answered):
            self.gone = True


@pytest.mark.parametrize("block", range(5))
def test_seeds_inproc(block: int) -> None:
    """Whoever is closed, in whatever state of queues and pipes: all that left is read, in order, and then its end is known."""
    for seed in range(block * SEEDS // 5, (block + 1) * SEEDS // 5):
        rng = random.Random(seed)
        ends = Near(1, rng, accepts=True), Near(2, rng, accepts=False)
        ends[1].machine.link(0, Link.UP, 0.0)
        first, both = rng.choice(((ends[0], False), (ends[1], False), (ends[0], True)))
        at = rng.randint(1, 40)
        step = 0
        while step < 1000 and not all(each.gone or each.farewells for each in ends):
            step += 1
            for end, other in (ends, ends[::-1]):
                if step < 1000 and not end.gone:
                    if not end.machine.closed and not end.machine.over:
                        end.send(rng.randint(0, 3))
                    if (end is first or both) and step >= at and end.machine.statistics.peers:
                        end.end()
                    elif end.unread and (step > 80 or rng.random() < 0.3):
                        end.read(rng.randint(1, end.unread))
                    end.turn(other, step * 0.01)
        for end, other in (ends, ends[::-1]):
            counts = end.machine.statistics
            assert end.entered == counts.sent + counts.unsent + len(end.machine.queue), seed
            if not end.gone:
                assert end.farewells == 1, seed
                assert end.machine.over, seed
                assert end.got == list(range(1, other.machine.statistics.sent + 1)), seed
                assert counts.missed == 0, seed
            else:
                assert end.got == list(range(1, len(end.got) + 1)), seed
