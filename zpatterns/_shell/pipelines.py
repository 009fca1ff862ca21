"""What both worlds' pipelines are made of: a machine, its socket, a pump; and how a wait for workers ends."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..core.jobs import Rule
from ..core.ventilator import Ventilator
from ..core.worker import StageWorker
from ..drive import sockets
from ..drive.ports import Dealer
from ..drive.pump import Pump
from ..drive.sockets import Context
from ..drive.watched import WatchedRouter
from ..endpoint import Endpoint
from ..errors import Closed, RequestTimeout
from ..policy import Heartbeat, Limits, SocketOptions


def open_ventilator(
    endpoint: Endpoint,
    timeout: float,
    limits: Limits,
    heartbeat: Heartbeat,
    options: SocketOptions,
    context: Context | None,
) -> tuple[Ventilator, Pump, str]:
    """The machine of a ventilator, its socket, bound, and where."""
    first_id = int.from_bytes(os.urandom(6), "big")  # ids stay below 2^53, which every language can count
    machine = Ventilator(first_id=first_id, timeout=timeout, limits=limits, heartbeat=heartbeat)
    router = WatchedRouter(context or sockets.default_context(), endpoint, options, limits)
    return machine, Pump(machine, [router], limits), router.address


def open_worker(
    stages: Mapping[str, tuple[Rule, int]],
    endpoint: Endpoint,
    limits: Limits,
    heartbeat: Heartbeat,
    options: SocketOptions,
    context: Context | None,
) -> tuple[StageWorker, Pump]:
    """The machine of a worker and its socket, connecting."""
    machine = StageWorker(stages, incarnation=os.urandom(8), heartbeat=heartbeat)
    dealer = Dealer(context or sockets.default_context(), endpoint, options, limits)
    return machine, Pump(machine, [dealer], limits)


def counted(stage: str | None, found: int, count: int, timeout: float, *, closed: bool) -> int:
    """How many workers there are, or RequestTimeout, or Closed."""
    if found >= count:
        return found
    if closed:
        raise Closed("the pipeline was closed")
    of = f" for stage {stage!r}" if stage is not None else ""
    raise RequestTimeout(
        f"{found} of {count} workers{of} within {timeout:g} s; are they running, and is their endpoint right?",
        sent=False,
    )
