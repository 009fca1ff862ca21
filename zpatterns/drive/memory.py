"""A ROUTER and a DEALER that are only memory: the drivers and machines run as they are, and no socket is opened.

For tests of handlers. One client, one server, nothing is ever lost or full.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..core.machine import Frames, Link, Sent

_ROUTING_ID = b"\0mem\1"


class _Side:
    """One end: what came in, and whom to tell when something goes out."""

    receive_soon: Callable[[], Frames | None] | None = None

    def __init__(self) -> None:
        self.notify: Callable[[], None] | None = None
        self.inbox: deque[Frames] = deque()

    def put(self, frames: Frames) -> None:
        self.inbox.append(frames)
        if self.notify is not None:
            self.notify()

    def receive(self) -> Frames | None:
        """One message, or None."""
        return self.inbox.popleft() if self.inbox else None

    def readable(self) -> bool:
        """Whether a message is there."""
        return bool(self.inbox)

    def writable(self) -> bool:
        """Memory is never full."""
        return True

    def descriptors(self) -> tuple[int | None, int | None]:
        """None: ``notify`` tells instead."""
        return None, None

    def reopen(self) -> None:
        """What may still come in is dropped."""
        self.inbox.clear()

    def close(self, linger: float | None = None) -> None:
        """Nothing to give back."""
        del linger
        self.inbox.clear()


class MemoryRouter(_Side):
    """The server's end."""

    address = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.peer: MemoryDealer | None = None

    def send(self, frames: Frames) -> Sent | None:
        """The routing id in front says to whom; there is one."""
        if self.peer is None or frames[0] != _ROUTING_ID:
            return Sent.UNROUTABLE
        self.peer.put(frames[1:])
        return None

    def links(self) -> list[Link]:
        """A ROUTER is told of none."""
        return []


class MemoryDealer(_Side):
    """The client's end."""

    def __init__(self, router: MemoryRouter) -> None:
        super().__init__()
        self._router = router
        self._links = [Link.UP]
        router.peer = self

    def send(self, frames: Frames) -> Sent | None:
        """Always taken."""
        self._router.put((_ROUTING_ID, *frames))
        return None

    def links(self) -> list[Link]:
        """Connected from the start."""
        links, self._links = self._links, []
        return links

    def reopen(self) -> None:
        """Connected again at once."""
        super().reopen()
        self._links = [Link.UP]
