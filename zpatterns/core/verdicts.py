"""What a caller is told: the exception, and the words, for each way a call can end badly."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import (
    AuthenticationError,
    DecodeError,
    NoSuchService,
    OutcomeUnknown,
    Overloaded,
    PeerUnavailable,
    PermissionDenied,
    ProtocolViolation,
    ReplyError,
    RequestTimeout,
    Status,
    ZPatternsError,
)
from ..wire.message import LOST
from .calls import Call, Port
from .jobs import PLAIN_PREFIX, Job, Rule, Why
from .machine import Frame


def failed(call: Call, flags: int, status: Status, text: str, details: dict[str, Any]) -> ZPatternsError:
    """The exception for an error that a server answered, or a broker."""
    if flags & LOST:
        return unknown(call, text)
    return error_of(status, text, details)


def error_of(status: Status, text: str, details: dict[str, Any]) -> ZPatternsError:
    """The exception for a status that a server answered."""
    if status is Status.PERMISSION_DENIED:
        return PermissionDenied(text)
    if status is Status.UNAUTHENTICATED:
        return AuthenticationError(text)
    return ReplyError(status, text, details=details)


def refused(status: Status, text: str, details: dict[str, Any]) -> ZPatternsError:
    """The exception for a server that did not take the request."""
    if status is Status.NOT_FOUND:
        return NoSuchService(f"{text}; is a worker of it running, and is the name right?")
    if status is Status.RESOURCE_EXHAUSTED:
        return Overloaded(f"the server did not take the request: {text}")
    if status is Status.UNAVAILABLE or status is Status.FAILED_PRECONDITION:  # stopping, or another incarnation
        return PeerUnavailable(f"the server did not take the request: {text}")
    return error_of(status, text, details)


def unavailable(text: str) -> PeerUnavailable:
    """Nobody there."""
    return PeerUnavailable(f"{text}; is it running, and is the endpoint right?")


def unknown(call: Call, why: str) -> OutcomeUnknown:
    """Taken and lost, and not to be sent again."""
    text = f"{call.name} was sent, and {why}; it may or may not have run."
    if call.stream:
        return OutcomeUnknown(f"{text} Open the stream again if that is safe")
    if call.method is None and not call.idempotent:
        return OutcomeUnknown(f"{text} If running it twice does no harm, say request_plain(..., idempotent=True)")
    if call.idempotent:
        return OutcomeUnknown(f"{text} All {call.attempts} attempts are used up: allow more with Retry(attempts=)")
    if call.dedupe:
        return OutcomeUnknown(f"{text} Check at the server before you repeat it")
    return OutcomeUnknown(f"{text} Declare the method idempotent=True or dedupe=True to have it sent again")


def replaced(call: Call) -> OutcomeUnknown:
    """The only incarnation that may get it again is no more."""
    return unknown(call, "its server was replaced by another incarnation")


def queue_full(waits: int) -> Overloaded:
    """The client's own queue has no room."""
    return Overloaded(
        f"{waits} requests already wait for a server (Limits.queue); send fewer at once, or raise the limit"
    )


def timed_out(call: Call, ports: Iterable[Port], unread: int) -> ZPatternsError:
    """The budget is spent: what is known of the call. ``unread``: messages that came back and answer nothing."""
    if call.taken:
        hint = (
            f" {unread} messages came back that are no answers: is what is at the endpoint what it should be?"
            if unread
            else ""
        )
        return RequestTimeout(late(call) + hint, sent=True)
    if call.refusal is not None:
        return call.refusal
    if any(port.up for port in ports):
        text = f"{call.name} was never sent: no connected server could take more (Limits.in_flight)"
        return RequestTimeout(text, sent=False)
    return unavailable(f"{call.name} was never sent: no server answered at the endpoint")


def late(call: Call) -> str:
    """The budget is spent and a server has it."""
    if call.stream:
        return f"no further part of {call.name} in time, after {call.parts} parts"
    return (
        f"no reply to {call.name} within its budget (sent {_times(call.attempt)}); it may have run. "
        "Is the server busy or stopped, or the timeout too short?"
    )


def lost_part(call: Call) -> ReplyError:
    """A hole in a stream."""
    return ReplyError(Status.DATA_LOSS, f"a part of the stream {call.name} was lost after part {call.parts}")


def too_many_parts(call: Call) -> ProtocolViolation:
    """A server that does not mind its reader."""
    return ProtocolViolation(f"more parts of {call.name} came than there was credit for")


def answers_nothing(call: Call, what: str) -> ProtocolViolation:
    """A header that is no answer, or not to this call."""
    return ProtocolViolation(f"the reply to {call.name} is a {what}, which answers nothing")


def not_typed(call: Call, cause: DecodeError, frames: list[Frame]) -> DecodeError:
    """The peer answers a typed request with something else."""
    return DecodeError(
        f"the reply to {call.name} is not a typed body ({cause}); for a plain peer use request_plain", frames=frames
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def no_method(name: str, rule: Rule | None) -> str:
    """Why a server cannot serve a request of this name."""
    if rule is None:
        return f"this server has no method {name!r:.256}; zp.info lists those it has"
    if rule.stream:
        return f"{name!r} answers with a stream: call it with stream()"
    return f"{name!r} answers once: call it with request()"


def unanswered(job: Job) -> tuple[Status, str]:
    """Why a job ends without an answer of its handler."""
    if job.stopped is None or job.stopped is Why.EXPIRED:
        return Status.DEADLINE_EXCEEDED, Why.EXPIRED.value
    return Status.CANCELLED, job.stopped.value


def plain(status: Status, text: str, limit: int) -> bytes:
    """A server's own words to a plain peer."""
    return (PLAIN_PREFIX + f"{status.name}: {text}".encode(errors="replace"))[:limit]
