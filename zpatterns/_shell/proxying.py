"""What both worlds' ``Proxy`` share: which sockets each kind has, and the endpoints checked before anything is opened."""

from __future__ import annotations

import logging
import warnings
import weakref
from collections.abc import Callable
from itertools import count
from typing import Self

from ..drive import sockets
from ..drive.sides import KINDS, Side
from ..drive.sockets import Context
from ..drive.steering import ProxyStatistics, SteeredProxy
from ..endpoint import Insecure
from ..errors import Closed, ConfigurationError
from ..policy import Limits, SocketOptions
from .arguments import chosen
from .guards import ForkGuard, check_made, checked_endpoint

log: logging.Logger = logging.getLogger("zpatterns")

_numbers = count(1)


class Proxying:
    """Made by ``forwarder``, ``queue`` or ``streamer``; opened by the world it lives in."""

    def __init__(
        self,
        kinds: tuple[str, str],
        endpoints: tuple[str, str] = ("", ""),
        *,
        connect: tuple[bool, bool] = (False, False),
        capture: Callable[[list[bytes]], None] | None = None,
        limits: Limits | None = None,
        options: SocketOptions | None = None,
        security: Insecure | None = None,
        context: Context | None = None,
    ) -> None:
        check_made(kinds, tuple, "Proxy.forwarder(xsub, xpub), Proxy.queue(...) or Proxy.streamer(...)")
        self._texts = endpoints
        self._sides = tuple(
            Side(
                KINDS[kind],
                checked_endpoint(text, bind=not connects, security=security, multicast=kind in ("XSUB", "XPUB")),
                connects,
            )
            for kind, text, connects in zip(kinds, endpoints, connect, strict=True)
        )
        if capture is not None and not callable(capture):
            raise ConfigurationError(f"capture={capture!r}: pass a function that takes a list of frames")
        self._capture = capture
        self._limits = chosen(limits, Limits)
        self._options = chosen(options, SocketOptions)
        self._context = context
        self._fork = ForkGuard("Proxy")
        self._name = f"proxy-{next(_numbers)}"
        self._proxy: SteeredProxy | None = None

    @classmethod
    def forwarder(
        cls,
        xsub: str,
        xpub: str,
        /,
        *,
        connect_frontend: bool = False,
        connect_backend: bool = False,
        capture: Callable[[list[bytes]], None] | None = None,
        limits: Limits | None = None,
        options: SocketOptions | None = None,
        security: Insecure | None = None,
        context: Context | None = None,
    ) -> Self:
        """Publishers connect to ``xsub``, subscribers to ``xpub``: either may come and go, nobody knows the other.

        Subscriptions of the same topic reach the publishers once, as one. A slow subscriber loses messages, as with any
        PUB. Subscriptions are at most 512 bytes long: a peer that sends a longer one is disconnected.
        """
        return cls(
            ("XSUB", "XPUB"),
            (xsub, xpub),
            connect=(connect_frontend, connect_backend),
            capture=capture,
            limits=limits,
            options=options,
            security=security,
            context=context,
        )

    @classmethod
    def queue(
        cls,
        router: str,
        dealer: str,
        /,
        *,
        connect_frontend: bool = False,
        connect_backend: bool = False,
        capture: Callable[[list[bytes]], None] | None = None,
        limits: Limits | None = None,
        options: SocketOptions | None = None,
        security: Insecure | None = None,
        context: Context | None = None,
    ) -> Self:
        """Clients connect to ``router``, servers to ``dealer``: requests go to the servers in turn, replies find back.

        REQ, DEALER and `RequestClient` on one side; REP and ROUTER programs on the other. In turn, whether a server is
        busy or not: where that matters, use a broker.
        """
        return cls(
            ("ROUTER", "DEALER"),
            (router, dealer),
            connect=(connect_frontend, connect_backend),
            capture=capture,
            limits=limits,
            options=options,
            security=security,
            context=context,
        )

    @classmethod
    def streamer(
        cls,
        pull: str,
        push: str,
        /,
        *,
        connect_frontend: bool = False,
        connect_backend: bool = False,
        capture: Callable[[list[bytes]], None] | None = None,
        limits: Limits | None = None,
        options: SocketOptions | None = None,
        security: Insecure | None = None,
        context: Context | None = None,
    ) -> Self:
        """Producers connect to ``pull``, workers to ``push``: items go to the workers in turn, and wait while all are full."""
        return cls(
            ("PULL", "PUSH"),
            (pull, push),
            connect=(connect_frontend, connect_backend),
            capture=capture,
            limits=limits,
            options=options,
            security=security,
            context=context,
        )

    @property
    def frontend(self) -> str:
        """The real address once the proxy has started, port * resolved; before that, what was asked for."""
        return self._proxy.frontend if self._proxy is not None else self._texts[0]

    @property
    def backend(self) -> str:
        """As ``frontend``, of the other side."""
        return self._proxy.backend if self._proxy is not None else self._texts[1]

    @property
    def paused(self) -> bool:
        """Whether ``pause()`` was called, and ``resume()`` not yet."""
        return self._proxy is not None and self._proxy.paused

    @property
    def running(self) -> bool:
        """Whether it was started and has not stopped."""
        return self._proxy is not None and not self._proxy.over.is_set()

    @property
    def statistics(self) -> ProxyStatistics:
        """Counters since the proxy was started. libzmq is asked for them, which takes 0.1 ms, and at most 0.05 s."""
        return self._proxy.statistics() if self._proxy is not None and not self._fork.forked else ProxyStatistics()

    def stop(self) -> None:
        """End it soon, from any thread or task. Returns at once; ``close()`` waits."""
        if self._proxy is not None and not self._fork.forked:
            self._proxy.stop()

    def _open(self) -> SteeredProxy:
        self._fork.check()
        if self._proxy is not None:
            raise Closed("this proxy was started already; make a new one to start again")
        front, back = self._sides
        self._proxy = SteeredProxy(
            self._context or sockets.default_context(),
            front,
            back,
            options=self._options,
            limits=self._limits,
            capture=self._capture,
            name=self._name,
        )
        weakref.finalize(self, _dropped, self._proxy, self._fork).atexit = False
        return self._proxy

    def _started(self) -> SteeredProxy:
        self._fork.check()
        if self._proxy is None:
            raise Closed("this proxy was not started; use it in a with block, or start() it")
        return self._proxy

    @property
    def _patience(self) -> float:
        """Seconds in which it has stopped: the commands, the messages nobody would take, two addresses given back."""
        return self._options.linger + 5.0


def _dropped(proxy: SteeredProxy, fork: ForkGuard) -> None:
    """Nobody holds it any more: its addresses are given back, and it is said aloud."""
    if fork.forked or proxy.ending:
        return
    proxy.abandon()
    log.warning("%s: it was dropped, and forwards nothing any more; keep it, or close() it", proxy.name)
    warnings.warn(
        "a Proxy was dropped without close(): use 'with' or 'async with', or close() it when you are done with it",
        ResourceWarning,
        stacklevel=2,
    )
