"""Every exception zpatterns raises, drawn first; nothing here imports anything of ours.

ZPatternsError
├── ConfigurationError (ValueError)        ours to fix before anything is sent
│   ├── InsecureEndpointError              TCP beyond loopback without encryption
│   ├── TransportUnavailable               this libzmq was built without the transport
│   └── AddressInUse                       somebody is bound there already
├── RequestTimeout (TimeoutError)          the budget is spent; ``sent`` says what is known
├── OutcomeUnknown                         taken by a server that was lost: it may have run
├── PeerUnavailable (ConnectionError)      never left this process
│   ├── NoSuchService                      a broker says nobody serves that name
│   └── PairRefused                        the other end of a pair has another peer
├── AuthenticationError                    the peer does not accept who we are
├── PermissionDenied (PermissionError)     it does, and still says no
├── ReplyError                             the handler's own answer: status, message, details
│   └── JobFailed                          of a pipeline's stage; keeps the job
│       └── DeadLetter                     delivered to one worker after the other, none of which finished it
├── DecodeError (ValueError)               a body that is not what its type says; keeps the frames
├── MessageTooLarge                        over the limit, refused before it is sent
├── ProtocolViolation                      the peer sent frames no version of the protocol has
├── Overloaded                             a queue with a limit is full
├── Closed                                 this object was closed
├── WrongThreadError, WrongLoopError       used where it does not live
└── ForkedError                            used in a forked child; make a new one there

Our fault and the peer's fault never share a class. A message says what happened and what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from reprlib import Repr
from typing import Any

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 100


class Status(IntEnum):
    """How a call ended, with the names and numbers of gRPC (``grpc/status.h``)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class ZPatternsError(Exception):
    """The root: ``except ZPatternsError`` catches whatever this library raises."""


class ConfigurationError(ZPatternsError, ValueError):
    """An argument cannot work; nothing was sent."""


class InsecureEndpointError(ConfigurationError):
    """TCP beyond loopback without encryption is refused until ``security=`` says what is meant."""


class TransportUnavailable(ConfigurationError):
    """The installed libzmq cannot speak this transport (``pgm`` in a wheel, for one)."""


class AddressInUse(ConfigurationError):
    """Another socket is bound to this endpoint."""


class RequestTimeout(ZPatternsError, TimeoutError):
    """The budget of a call is spent. ``sent`` is False when it never left: then it certainly did not run."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class OutcomeUnknown(ZPatternsError):
    """A server took the request and was lost before it answered; the handler may or may not have run."""


class PeerUnavailable(ZPatternsError, ConnectionError):
    """No server could take the request, so it did not run."""


class NoSuchService(PeerUnavailable):
    """The broker knows no worker of that service."""


class PairRefused(PeerUnavailable):
    """The other end of a pair took the connection and does not answer: most likely it has another peer."""


class AuthenticationError(ZPatternsError):
    """The peer refused our credentials, or we refused the peer's."""


class PermissionDenied(ZPatternsError, PermissionError):
    """The peer knows who we are and does not allow this."""


class ReplyError(ZPatternsError):
    """Raised by a handler to answer with a status, and raised again at the caller with the same three values."""

    def __init__(self, status: Status, message: str = "", *, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{status.name}: {message}" if message else status.name)
        self.status = status
        self.message = message
        self.details: dict[str, Any] = dict(details or {})

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_reply_error, (type(self), self.status, self.message, self.details)


def _rebuild_reply_error(cls: type[ReplyError], status: Status, message: str, details: dict[str, Any]) -> ReplyError:
    return cls(status, message, details=details)


class JobFailed(ReplyError):
    """The handler of a stage raised: its status, message and details. ``job`` is what the stage chain was given."""

    job: Any = None
    """The job as it was taken from the iterator."""
    stage: str = ""
    """Name of the stage that failed."""

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text} (stage {self.stage!r}, job {_SHORT.repr(self.job)})" if self.stage else text


class DeadLetter(JobFailed):
    """A job that was delivered ``Limits.deliveries`` times: each worker died, or did not end in time."""


class DecodeError(ZPatternsError, ValueError):
    """A body does not decode to its type. ``frames`` keeps what arrived, so nothing is lost."""

    def __init__(self, message: str, *, frames: Sequence[bytes | memoryview] = ()) -> None:
        super().__init__(message)
        self.frames: list[bytes | memoryview] = list(frames)


class MessageTooLarge(ZPatternsError):
    """A message is over ``Limits.message`` bytes or ``Limits.frames`` frames; it was not sent."""


class ProtocolViolation(ZPatternsError):
    """The peer sent frames that the protocol does not have."""


class Overloaded(ZPatternsError):
    """A bounded queue is full: ours, or the server's intake. The request did not run."""


class Closed(ZPatternsError):
    """The object is closed, or was closed while the call waited."""


class WrongThreadError(ZPatternsError):
    """Called from a thread where it would deadlock or break the socket's owner."""


class WrongLoopError(ZPatternsError):
    """Used on another event loop than the one it was opened on."""


class ForkedError(ZPatternsError):
    """Used in a forked child; ZeroMQ sockets do not survive a fork."""
