"""Who has been silent for too long: one timer a peer, set anew only when it runs out, so that hearing costs nothing."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from .timers import Timers


class Mortal(Protocol):
    """Carries when it was heard, and how long it may be silent."""

    due: float
    heard_at: float

    @property
    def patience(self) -> float:
        """Seconds of silence after which it counts as gone; may change while it is watched."""
        ...


P = TypeVar("P", bound=Mortal)


class Liveness(Generic[P]):
    """Set ``heard_at`` whenever a peer shows life; ``silent`` says who has not for too long."""

    __slots__ = ("_timers",)

    def __init__(self) -> None:
        self._timers: Timers[P] = Timers()

    def watch(self, peer: P) -> None:
        """From now on, or with another patience."""
        self._timers.set(peer, peer.heard_at + peer.patience)

    def forget(self, peer: P) -> None:
        """It has gone."""
        self._timers.remove(peer)

    def silent(self, now: float) -> list[P]:
        """Those whose time is over; they are watched no longer."""
        over: list[P] = []
        for peer in self._timers.expired(now):
            if peer.heard_at + peer.patience > now:
                self.watch(peer)
            else:
                over.append(peer)
        return over

    @property
    def wakes_at(self) -> float | None:
        """No later than the first that may be silent for too long."""
        return self._timers.wakes_at
