"""Guards against misuse: after a fork, after close, on the wrong thread or loop. Each error says what to do."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable

from ..endpoint import Endpoint, Insecure, guard, parse
from ..errors import ConfigurationError, ForkedError, WrongLoopError


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


def check_loop(owner: asyncio.AbstractEventLoop | None, what: str) -> None:
    """Raises WrongLoopError outside a running loop, or on another one than the owner's."""
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        raise WrongLoopError(
            f"no event loop runs in this thread; use the {what} within one, or zpatterns without asyncio"
        ) from None
    if owner is not None and running is not owner:
        raise WrongLoopError(
            f"this {what} belongs to another event loop; make one for each loop, or go through "
            "asyncio.run_coroutine_threadsafe(...) to the loop it belongs to"
        )


def resolve(host: str) -> Iterable[str]:
    """Every address a name stands for. Asks the system, which may ask the network; raises OSError or UnicodeError."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None)]


def checked_endpoint(text: str, *, bind: bool, security: Insecure | None) -> Endpoint:
    """An endpoint that may be used: spelled right, and not plaintext beyond loopback unless that was said."""
    if security is not None and not isinstance(security, Insecure):
        raise ConfigurationError(f"security={security!r}: pass Insecure(), or leave it out")
    endpoint = parse(text, bind=bind)
    guard(endpoint, secured=False, insecure=security is not None, bind=bind, resolve=resolve)
    return endpoint
