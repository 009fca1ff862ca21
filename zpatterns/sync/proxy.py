"""The blocking ``Proxy``: libzmq's own forwarder, queue and streamer, in C, that can be paused, watched and stopped."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

from .._shell.proxying import Proxying
from .._shell.signals import on_signal

log: logging.Logger = logging.getLogger("zpatterns")


class Proxy(Proxying):
    """Forwards between two sockets, which it binds: make one with `forwarder`, `queue` or `streamer`.

    ``with proxy:`` or ``start()`` runs it on daemon threads, ``run()`` until SIGINT or SIGTERM. ``frontend`` and
    ``backend`` are the real addresses then. ``connect_frontend``, ``connect_backend``: that side connects instead, to
    join two networks. ``capture`` is called with the frames of each message, either way, on a thread of its own: a slow
    one misses some, which is counted, and delays nobody. TCP beyond loopback is refused unless ``security`` says what is
    meant. Messages pass unopened, at most ``limits.message`` bytes each.

    A proxy has no memory but libzmq's queues: what has not gone out when it stops is lost after ``linger`` seconds.
    """

    def start(self) -> Self:
        """Run it in the background; leave a ``with`` block or call ``close()`` to end it.

        Raises AddressInUse and ConfigurationError when an endpoint cannot be opened, Closed when it was started before.
        """
        self._open()
        return self

    def run(self) -> None:
        """Run it until SIGINT or SIGTERM, or until ``stop()`` is called. Outside the main thread there are no signals."""
        proxy = self._open()
        with on_signal(self._on_signal):
            try:
                while not proxy.over.wait(1.0):
                    pass
            finally:
                self.close()

    def pause(self, *, timeout: float = 1.0) -> None:
        """Forward nothing more, from when this returns. Messages wait in libzmq's queues, up to the high-water marks.

        RequestTimeout after ``timeout`` seconds if a peer that does not read holds up the proxy: it pauses as soon as
        that peer reads.
        """
        self._started().pause(timeout)

    def resume(self) -> None:
        """Forward again, what has waited first."""
        self._started().resume()

    def close(self) -> None:
        """Stop, and wait until both addresses are free again: within ``linger`` seconds, also if peers do not read.

        Idempotent.
        """
        proxy = self._proxy
        if proxy is not None and not self._fork.forked:
            proxy.stop()
            proxy.join(self._patience)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _on_signal(self, name: str) -> None:
        log.info("%s: stopping", name)
        # not here: the interrupted code may hold the lock of an Event
        threading.Thread(target=self.stop, daemon=True).start()
