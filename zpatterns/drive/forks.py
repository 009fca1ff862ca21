"""After a fork: ZeroMQ sockets and threads stay with the parent, so everything that owns some asks here first."""

from __future__ import annotations

import os
from weakref import WeakSet

from ..errors import ForkedError


class ForkGuard:
    """Knows the process its owner was made in."""

    __slots__ = ("__weakref__", "_pid", "_what", "forked")

    def __init__(self, what: str) -> None:
        self.forked: bool = False
        """Whether this is another process now. The fork itself sets it: whoever asks often pays for no call."""
        self._pid = os.getpid()
        self._what = what
        _guards.add(self)

    def check(self) -> None:
        """Raises ForkedError in a child."""
        if self.forked:
            raise ForkedError(
                f"this {self._what} was made in process {self._pid} and cannot be used in its child {os.getpid()}: "
                "make a new one in the child, or start processes with the 'spawn' method"
            )


_guards: WeakSet[ForkGuard] = WeakSet()


def _after_fork() -> None:
    for guard in _guards:
        guard.forked = True


os.register_at_fork(after_in_child=_after_fork)
