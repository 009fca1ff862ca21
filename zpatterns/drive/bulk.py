"""A pump for what comes in by the thousand: messages are read many at a time, and only while the machine wants any."""

from __future__ import annotations

from typing import Any

from ..core.machine import Frames
from ..core.subscriber import Subscriber
from ..policy import Limits
from .fan import Sub
from .pump import Pump


class SubscriberPump(Pump):
    """A subscriber and its sockets."""

    def __init__(self, machine: Subscriber, ports: list[Any], limits: Limits) -> None:
        super().__init__(machine, ports, limits)
        self._most = limits.drain

    def drain(self, port: int, now: float, frames: Frames | None = None) -> bool:
        """Read what is there, bounded. True if there may be more that is wanted."""
        source: Sub = self.ports[port]  # type: ignore[assignment]
        machine: Subscriber = self.machine  # type: ignore[assignment]
        more = not machine.paused and source.drain(machine, port, self._most, now)
        machine.dispatch(now)
        return more and not machine.paused
