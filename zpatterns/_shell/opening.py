"""What both worlds' clients and servers are made of: endpoints checked, a machine, its sockets, a pump."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from random import random
from typing import Any

from ..core.majordomo_client import MajordomoClient
from ..core.requester import Requester
from ..drive import sockets
from ..drive.ports import Dealer
from ..drive.pump import PortSocket, Pump
from ..drive.sockets import Context
from ..endpoint import Insecure
from ..errors import ConfigurationError
from ..policy import Heartbeat, Limits, Retry, SocketOptions
from ..wire.majordomo import MMI_PREFIX
from .guards import checked_endpoint

log: logging.Logger = logging.getLogger("zpatterns")


def requester_pump(
    endpoints: str | Sequence[str],
    *,
    retry: Retry,
    limits: Limits,
    heartbeat: Heartbeat,
    options: SocketOptions,
    security: Insecure | None,
    context: Context | None,
    service: str | None = None,
    ports: Sequence[PortSocket] | None = None,
) -> tuple[Requester, Pump]:
    """The machine of a client and the sockets it needs, connecting. ``ports`` replaces the sockets.

    With a ``service`` the endpoints are brokers, and the pump's machine is the one between them and the requester.
    """
    name = checked_service(service) if service is not None else b""
    checked = [checked_endpoint(text, bind=False, security=security) for text in spelled(endpoints)]
    machine = Requester(
        len(checked), prefix=os.urandom(8), random=random, retry=retry, limits=limits, heartbeat=heartbeat
    )
    front = machine if service is None else MajordomoClient(machine, service=name, heartbeat=heartbeat)
    if ports is not None:
        return machine, Pump(front, ports, limits)
    dealers: list[Dealer] = []
    try:
        for endpoint in checked:
            dealers.append(Dealer(context or sockets.default_context(), endpoint, options, limits))
    except BaseException:
        for dealer in dealers:
            dealer.close(0)
        raise
    return machine, Pump(front, dealers, limits)


def checked_service(name: str) -> bytes:
    """The name of a service as it travels."""
    encoded = name.encode()
    if not 0 < len(encoded) <= 255 or encoded.startswith(MMI_PREFIX):
        raise ConfigurationError(f"service={name!r}: 1 to 255 bytes, and mmi.* are the broker's own (8/MMI)")
    return encoded


def spelled(endpoints: str | Sequence[str]) -> list[str]:
    """One endpoint or several, as a list."""
    given: object = endpoints
    texts: list[Any] = list(given) if isinstance(given, Iterable) and not isinstance(given, str | bytes) else [given]
    if not texts:
        raise ConfigurationError("at least one endpoint is needed")
    if len(set(texts)) != len(texts):
        raise ConfigurationError(f"an endpoint is given twice: {texts}")
    return texts


def check_endpoints(endpoints: str | Sequence[str], security: Insecure | None) -> list[str]:
    """Refuse at construction what could not be opened later."""
    texts = spelled(endpoints)
    for text in texts:
        checked_endpoint(text, bind=False, security=security)
    return texts


def connection_listener(
    endpoints: Sequence[str], on_connection: Callable[[str, bool], None] | None
) -> Callable[[int, bool, str], None]:
    """What the driver tells of its ports, for the log and for the user's ``on_connection``."""

    def listen(port: int, up: bool, reason: str) -> None:
        log.debug("%s %s (%s)", "connected to" if up else "no connection to", endpoints[port], reason)
        if on_connection is not None:
            on_connection(endpoints[port], up)

    return listen
