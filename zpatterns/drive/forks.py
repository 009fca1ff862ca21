"""After a fork: ZeroMQ sockets and threads stay with the parent, so everything that owns some asks here first."""

from __future__ import annotations

import os

from ..errors import ForkedError


class _Process:
    """The id of this process, kept up to date across forks: cheaper to compare than to ask for."""

    pid = os.getpid()


def _after_fork() -> None:
    _Process.pid = os.getpid()


os.register_at_fork(after_in_child=_after_fork)


class ForkGuard:
    """Knows the process its owner was made in."""

    __slots__ = ("_pid", "_what")

    def __init__(self, what: str) -> None:
        self._pid = _Process.pid
        self._what = what

    @property
    def forked(self) -> bool:
        """Whether this is another process now."""
        return self._pid != _Process.pid

    def check(self) -> None:
        """Raises ForkedError in a child."""
        if self._pid != _Process.pid:
            raise ForkedError(
                f"this {self._what} was made in process {self._pid} and cannot be used in its child {_Process.pid}: "
                "make a new one in the child, or start processes with the 'spawn' method"
            )
