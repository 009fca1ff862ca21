"""From a job to its handler's answer: decode, call, encode; and what an exception of the handler says to the caller."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ..codec import Codec
from ..core.jobs import Asked
from ..drive.replying import Answer, Failure
from ..errors import DecodeError, PermissionDenied, ReplyError, Status
from ..policy import Limits
from .binding import Handler
from .context import RequestContext

log: logging.Logger = logging.getLogger("zpatterns")


_SMALL = 65_536
"""No message limit is below this."""


class BadRequest(Exception):
    """The request's body is not of the handler's type: the caller's fault."""


def arguments(handler: Handler, job: Asked) -> tuple[Any, ...]:
    """What the handler is called with; raises BadRequest."""
    if handler.name is None:
        frames = [frame if type(frame) is bytes else bytes(frame) for frame in job.rest]
        return (frames, RequestContext(job)) if handler.takes_context else (frames,)
    if handler.request is None:
        return (RequestContext(job),) if handler.takes_context else ()
    rest = job.rest
    codec = job.header.codec if job.header is not None else 0
    try:
        body = handler.request.decode(codec, rest[0], rest[1:])
    except DecodeError as error:
        raise BadRequest(str(error)) from None
    if handler.takes_context:
        return (body, RequestContext(job)) if handler.takes_body else (RequestContext(job),)
    return (body,) if handler.takes_body else ()


def encoded(codec: Codec[Any] | None, value: Any, limits: Limits) -> Answer:
    """Codec id, payload and buffers of a reply or a part; raises TypeError for a value of the wrong type."""
    assert codec is not None
    payload, buffers = codec.encode(value)
    size = len(payload)
    if not buffers and size <= _SMALL:
        return codec.wire_id, payload, buffers
    if buffers:
        size += sum(memoryview(buffer).nbytes for buffer in buffers)
    if size > limits.message or len(buffers) + 5 > limits.frames:
        raise ReplyError(
            Status.RESOURCE_EXHAUSTED,
            f"the reply is {size} bytes in {len(buffers) + 1} frames; the limit is {limits.message} bytes "
            f"in {limits.frames - 4} frames",
        )
    return codec.wire_id, payload, buffers


def plain_frames(value: Any) -> list[bytes]:
    """What a plain handler returned, as frames."""
    frames: list[Any] = [value] if isinstance(value, bytes | bytearray | memoryview) else []
    if isinstance(value, list | tuple):
        frames.extend(value)  # pyright: ignore[reportUnknownArgumentType]
        frames = frames or [b""]
    if frames and all(isinstance(frame, bytes | bytearray | memoryview) for frame in frames):
        return [bytes(frame) for frame in frames]
    name = type(value).__name__  # pyright: ignore[reportUnknownArgumentType]
    raise TypeError(f"a plain handler returns bytes or a list of bytes, not {name}")


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  an exception class may have any __str__
        return type(error).__name__


def failure_of(error: BaseException, handler: Handler, mapping: Mapping[type[Exception], Status]) -> Failure:
    """Status, text and details for the caller. What is not meant for the caller goes to the log alone."""
    if isinstance(error, ReplyError):
        return error.status if error.status is not Status.OK else Status.UNKNOWN, error.message, error.details
    if isinstance(error, BadRequest):
        return Status.INVALID_ARGUMENT, str(error), {}
    if isinstance(error, PermissionDenied):
        return Status.PERMISSION_DENIED, str(error), {}
    for kind in type(error).__mro__:
        if kind in mapping:
            return mapping[kind], _text(error), {}
    name = handler.name or "the plain handler"
    if isinstance(error, TimeoutError):
        log.warning("handler of %s timed out", name, exc_info=error)
        return Status.DEADLINE_EXCEEDED, f"the handler of {name} timed out", {}
    log.error("handler of %s raised %s", name, type(error).__name__, exc_info=error)
    return (
        Status.INTERNAL,
        f"the handler of {name} raised {type(error).__name__}; the traceback is in the log of its process",
        {},
    )
