"""Guards against misuse: after a fork, after close, made or bound in a way that cannot work. Each error says what to do."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from ..drive.forks import ForkGuard as ForkGuard
from ..endpoint import Endpoint, Insecure, guard, parse
from ..errors import ConfigurationError


def check_made(given: object, kind: type, ways: str) -> None:
    """For classes that have ways to be made with better names than their own."""
    if not isinstance(given, kind):
        raise ConfigurationError(f"this class is not called by itself: make one with {ways}")


def resolve(host: str) -> Iterable[str]:
    """Every address a name stands for. Asks the system, which may ask the network; raises OSError or UnicodeError."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None)]


def checked_endpoint(text: str, *, bind: bool, security: Insecure | None, multicast: bool = False) -> Endpoint:
    """An endpoint that may be used: spelled right, and not plaintext beyond loopback unless that was said.

    ``multicast``: whether the pattern works over pgm and epgm, which is for publishers and subscribers alone.
    """
    if security is not None and not isinstance(security, Insecure):
        raise ConfigurationError(f"security={security!r}: pass Insecure(), or leave it out")
    if not isinstance(text, str):
        raise ConfigurationError(f"an endpoint is a str, such as 'tcp://127.0.0.1:5555', not {text!r}")
    endpoint = parse(text, bind=bind)
    if endpoint.transport in ("pgm", "epgm") and not multicast:
        raise ConfigurationError(
            f"{endpoint}: multicast goes from a Publisher to any number of Subscribers, and nothing comes back; this pattern "
            "needs tcp://, ipc:// or inproc://"
        )
    guard(endpoint, secured=False, insecure=security is not None, bind=bind, resolve=resolve)
    return endpoint
