"""The ``zp.*`` methods every server answers, with the fields of NATS micro services where those exist."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from time import monotonic
from typing import Any

from pydantic import TypeAdapter

from ..core.replier import Replier
from ..errors import ConfigurationError
from .binding import Handler, bind
from .handlers import Handlers


def operations(server: Handlers, replier: Callable[[], Replier], started_at: float) -> dict[str | None, Handler]:
    """``zp.ping``, ``zp.info``, ``zp.stats``, ``zp.schema`` and ``zp.health``, bound to one running server."""

    def identity() -> dict[str, Any]:
        return {"name": server.name, "id": replier().incarnation.hex(), "version": server.version}

    def ping() -> dict[str, Any]:
        return identity()

    def info() -> dict[str, Any]:
        endpoints = [
            {"name": handler.name, "stream": handler.stream, "dedupe": handler.rule.dedupe}
            for handler in server._catalogue()
        ]
        return {**identity(), "endpoints": endpoints, "plain": None in server._handlers}

    def stats() -> dict[str, Any]:
        machine = replier()
        numbers = asdict(machine.statistics)
        state = {"queued": machine.queued, "running": machine.running, "uptime": monotonic() - started_at}
        return {**identity(), **state, **numbers}

    def schema() -> dict[str, Any]:
        return {
            **identity(),
            "endpoints": {
                handler.name: {"request": _schema(handler.request_type), "reply": _schema(handler.reply_type)}
                for handler in server._catalogue()
            },
        }

    def health() -> dict[str, Any]:
        stopping = replier().stopping
        return {**identity(), "status": "NOT_SERVING" if stopping else "SERVING"}  # the words of grpc.health.v1

    functions: list[Callable[[], dict[str, Any]]] = [ping, info, stats, schema, health]
    return {
        f"zp.{function.__name__}": bind(_annotated(function), name=f"zp.{function.__name__}", always=True)
        for function in functions
    }


def _annotated(function: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    function.__annotations__ = {"return": dict[str, Any]}  # names of this module would not resolve in a closure
    return function


def _schema(form: Any) -> Any:
    if form is None:
        return None
    try:
        return TypeAdapter(form).json_schema()
    except Exception as error:  # noqa: BLE001  a type without a JSON schema is still served
        return {"description": f"no JSON schema: {type(error).__name__}"}


def check_served(handlers: Handlers) -> None:
    """A server without handlers answers nobody: most likely a forgotten decorator."""
    if not handlers._handlers:
        raise ConfigurationError(f"server {handlers.name!r} has no handlers; register one with @server.reply first")
