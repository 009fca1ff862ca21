"""What a handler may know of the request it answers."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from types import MappingProxyType

from ..core.jobs import Asked

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class RequestContext:
    """The ``ctx`` of a handler: ask for it with a second parameter annotated ``RequestContext`` or named ``ctx``."""

    __slots__ = ("_job",)

    def __init__(self, job: Asked) -> None:
        self._job = job

    @property
    def method(self) -> str:
        """The name the request was sent to; empty for a plain body."""
        return self._job.method or ""

    @property
    def attempt(self) -> int:
        """1 for the first send of this request, more for a retry."""
        return self._job.header.attempt if self._job.header is not None else 1

    @property
    def deadline(self) -> float:
        """When the caller stops waiting, on the clock of ``time.monotonic()``; infinite for a plain body."""
        return self._job.expires_at

    @property
    def remaining(self) -> float:
        """Seconds until then, never negative."""
        return max(0.0, self._job.expires_at - monotonic())

    @property
    def cancelled(self) -> bool:
        """True once nobody waits any more: cancelled, expired, gone, or the server stops. Long handlers look at it."""
        return self._job.stopped is not None or self._job.done

    @property
    def headers(self) -> Mapping[str, str]:
        """What the caller passed as ``headers=``."""
        header = self._job.header
        return MappingProxyType(header.extra.get("headers", {})) if header is not None else _NO_HEADERS

    @property
    def peer(self) -> str:
        """The authenticated name of the caller's key; empty on an endpoint without authentication."""
        return ""
