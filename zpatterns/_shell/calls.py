"""From what a caller says to a ``Call``, and from its reply to a value: the same in both worlds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from time import monotonic
from typing import Any

from ..codec import Codec, codec_for
from ..contract import Method, StreamMethod, check_name
from ..core.calls import EMPTY, ID, NONE, Call
from ..core.machine import Frame
from ..errors import ConfigurationError, MessageTooLarge
from ..policy import Limits, Retry
from ..wire import message as w

_HEADERS_MAX = 16_384
"""Characters, at most 64 KiB of UTF-8: what a server takes as a header frame (docs/wire.md)."""
_FOREVER = 10 * 365 * 86_400.0
_ENVELOPES = {"id": ID, "empty": EMPTY, "none": NONE}
_NO_BODY = w.EMPTY_BODY


class Maker:
    """Makes the calls of one client, with its defaults."""

    def __init__(self, *, timeout: float, retry: Retry, limits: Limits) -> None:
        self.timeout = checked_timeout(timeout)
        self._attempts = retry.attempts
        self._limits = limits
        self._any = codec_for(Any, limits=limits)

    def unary(
        self,
        method: Method[Any, Any] | str,
        body: Any,
        reply: Any,
        timeout: float | None,
        headers: Mapping[str, str] | None,
        *,
        idempotent: bool | None,
        wait_for_ready: bool,
    ) -> tuple[Call, Codec[Any]]:
        """A request with one reply, and the codec of that reply."""
        if type(method) is Method:
            name, codec = method.name, method.reply_codec
            request_codec: Codec[Any] = method.request_codec
            sure = method.idempotent
            dedupe = method.dedupe and not sure
        else:
            name, codec = self._named(method, reply)
            request_codec, sure, dedupe = self._any, False, False
        if idempotent is not None:
            sure = idempotent
        payload, buffers = (_NO_BODY, ()) if body is None else request_codec.encode(body)
        if buffers or len(payload) > 65_536:
            self._check_size(name, payload, buffers)
        seconds = self.timeout if timeout is None else checked_timeout(timeout)
        wire_id = request_codec.wire_id if body is not None else 1
        call = Call(name, payload, monotonic() + seconds, self._attempts, wire_id, buffers, sure, dedupe)
        if headers:
            call.extra = _checked_headers(headers)
        if not wait_for_ready:
            call.wait_for_ready = False
        return call, codec

    def stream(
        self,
        method: StreamMethod[Any, Any] | str,
        body: Any,
        part: Any,
        timeout: float | None,
        deadline: float | None,
        headers: Mapping[str, str] | None,
    ) -> tuple[Call, Codec[Any]]:
        """A request with many replies, and the codec of a part."""
        if isinstance(method, StreamMethod):
            name, codec, request_codec = method.name, method.part_codec, method.request_codec
        else:
            name, codec = self._named(method, part)
            request_codec = self._any
        payload, buffers = (_NO_BODY, ()) if body is None else request_codec.encode(body)
        self._check_size(name, payload, buffers)
        seconds = self.timeout if timeout is None else checked_timeout(timeout)
        now = monotonic()
        whole = _FOREVER if deadline is None else checked_timeout(deadline)
        call = Call(name, payload, now + whole, 1, codec=request_codec.wire_id, buffers=buffers)
        call.attempts = self._attempts
        call.stream = True
        call.timeout = seconds
        call.quiet_at = now + seconds
        if headers:
            call.extra = _checked_headers(headers)
        return call, codec

    def plain(self, body: bytes | Sequence[bytes], timeout: float | None, envelope: str, *, idempotent: bool) -> Call:
        """A request in bare frames, for a peer that is not one of ours."""
        frames: list[Any] = [body] if isinstance(body, bytes | bytearray | memoryview) else list(body)
        if envelope not in _ENVELOPES:
            raise ConfigurationError(f"envelope={envelope!r}: must be 'id', 'empty' or 'none'")
        if not frames:
            frames = [b""]  # [id] [] alone gets no answer from a REP
        if any(not isinstance(frame, bytes | bytearray | memoryview) for frame in frames):
            raise TypeError("a plain body is bytes, or a list of bytes frames")
        if w.is_typed(bytes(frames[0][:3])):
            raise ConfigurationError("a plain body may not start with the typed header C1 'z' 'p'; use request()")
        self._check_size("the plain request", frames[0], frames[1:])
        seconds = self.timeout if timeout is None else checked_timeout(timeout)
        call = Call(None, bytes(frames[0]), monotonic() + seconds, self._attempts, buffers=frames[1:])
        call.idempotent = idempotent
        call.bare = _ENVELOPES[envelope]
        return call

    def _named(self, method: Any, answer: Any) -> tuple[str, Codec[Any]]:
        if type(method) is Method or type(method) is StreamMethod:
            kind = "stream()" if isinstance(method, StreamMethod) else "request() or submit()"
            raise ConfigurationError(f"{method.name!r} is no method for this: call it with {kind}")
        name = check_name(method, reserved=True)
        return name, self._any if answer is None else codec_for(answer, limits=self._limits)

    def _check_size(self, name: str, payload: Frame, buffers: Sequence[Frame]) -> None:
        size = len(payload) + sum(memoryview(buffer).nbytes for buffer in buffers)
        if size > self._limits.message or len(buffers) + 4 > self._limits.frames:
            raise MessageTooLarge(
                f"{name!r}: {size} bytes in {len(buffers) + 1} frames; the limit is {self._limits.message} bytes in "
                f"{self._limits.frames - 3} frames (Limits.message, Limits.frames). Send less, or raise it on both sides"
            )


def finish(call: Call, codec: Codec[Any]) -> Any:
    """The value a call ended with, or its exception."""
    if call.failure is not None:
        raise call.failure
    reply = call.reply
    if len(reply) == 1:
        return codec.decode(call.reply_codec, reply[0])
    return codec.decode(call.reply_codec, reply[0], reply[1:])


def checked_timeout(timeout: float) -> float:
    """Seconds that end, or ConfigurationError."""
    if not isinstance(timeout, int | float) or not 0 < timeout < inf:
        raise ConfigurationError(f"timeout={timeout!r}: must be seconds greater than 0; nothing waits for ever")
    return min(timeout, _FOREVER)


def wait_seconds(timeout: float) -> float:
    """How long to wait: a budget that is spent is no wait. Raises ConfigurationError for a wait without an end."""
    if not isinstance(timeout, int | float) or not timeout < inf:
        raise ConfigurationError(f"timeout={timeout!r}: must be seconds; nothing waits for ever")
    return max(0.0, min(timeout, _FOREVER))


def _checked_headers(headers: Mapping[str, str]) -> dict[str, Any]:
    if not all(isinstance(key, str) and isinstance(value, str) for key, value in headers.items()):
        raise TypeError("headers= maps str to str")
    size = sum(len(key) + len(value) for key, value in headers.items())
    if len(headers) > 64 or size > _HEADERS_MAX:
        raise MessageTooLarge(
            f"{len(headers)} headers of {size} characters; at most 64 of {_HEADERS_MAX} travel with a request"
        )
    return {"headers": dict(headers)}
