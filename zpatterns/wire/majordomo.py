"""Majordomo on the wire: 7/MDP 0.1, 18/MDP 0.2 and the dialect of it that the package majortomo speaks; service names of 8/MMI.

Commands as dataclasses, to frames and back. The frames here are those behind the routing id that a ROUTER puts in
front. Each side reads with its own function, for a client's REQUEST and its REPLY look alike in 0.1. What reads raises
DecodeError and nothing else; what is done about it is the broker's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from ..errors import DecodeError

Frame: TypeAlias = bytes | memoryview
Frames: TypeAlias = Sequence[Frame]

C01, W01, C02, W02 = b"MDPC01", b"MDPW01", b"MDPC02", b"MDPW02"
HEADERS: frozenset[bytes] = frozenset((C01, W01, C02, W02))

READY, REQUEST, REPLY = b"\x01", b"\x02", b"\x03"
HEARTBEAT, DISCONNECT = b"\x04", b"\x05"
"""7/MDP, worker commands."""
READY_02, REQUEST_02, PARTIAL_02, FINAL_02 = b"\x01", b"\x02", b"\x03", b"\x04"
HEARTBEAT_02, DISCONNECT_02 = b"\x05", b"\x06"
"""18/MDP, worker commands."""
CLIENT_REQUEST, CLIENT_PARTIAL, CLIENT_FINAL = b"\x01", b"\x02", b"\x03"
"""18/MDP, client commands: PARTIAL and FINAL have other numbers than at the worker."""

MMI_PREFIX = b"mmi."
MMI_SERVICE = b"mmi.service"
MMI_ZPATTERNS = b"mmi.zpatterns"
"""Asks a broker whether it is ours; 8/MMI has every other broker answer 501."""
FOUND, NOT_FOUND, NOT_IMPLEMENTED = b"200", b"404", b"501"


class Dialect(Enum):
    """Which of the protocols a peer speaks."""

    MDP01 = "7/MDP 0.1"
    MDP02 = "18/MDP 0.2"
    MAJORTOMO = "18/MDP 0.2 as the package majortomo speaks it"
    """An empty frame in front; a client writes the worker's numbers; its replies name no service."""


# -- between client and broker --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """A client wants something of a service. ``id`` stands before the delimiter, between our own peers only."""

    dialect: Dialect
    service: bytes
    body: Frames
    id: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer, or with ``final=False`` (18/MDP) a part of it. majortomo leaves the service out."""

    dialect: Dialect
    service: bytes
    body: Frames
    final: bool = True
    id: bytes = b""


# -- between worker and broker --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker offers a service; the first command of every conversation."""

    dialect: Dialect
    service: bytes


@dataclass(frozen=True, slots=True)
class Job:
    """REQUEST at the worker: ``address`` is opaque to it, and comes back with the result."""

    dialect: Dialect
    address: bytes
    body: Frames


@dataclass(frozen=True, slots=True)
class Result:
    """REPLY (0.1), PARTIAL or FINAL (0.2) of a worker."""

    dialect: Dialect
    address: bytes
    body: Frames
    final: bool = True


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A sign of life, either way. ``about``, between our own peers only: what the worker says of itself."""

    dialect: Dialect
    about: Frame = b""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The end of the conversation, either way."""

    dialect: Dialect


Command: TypeAlias = Request | Reply | Ready | Job | Result | Heartbeat | Disconnect


def recognise(frames: Frames) -> Dialect | None:
    """The dialect of a message, by its first frames; None when it is no Majordomo at all."""
    if len(frames) > 1 and not len(frames[0]):
        header = frames[1]
        if header in (C01, W01):
            return Dialect.MDP01
        return Dialect.MAJORTOMO if header in (C02, W02) else None
    if frames and (frames[0] == C02 or frames[0] == W02):
        return Dialect.MDP02
    if len(frames) > 2 and not len(frames[1]) and frames[2] == C01:  # our own client: a request id in front
        return Dialect.MDP01
    return None


# -- reading ------------------------------------------------------------------------------------------------------------


def read_request(frames: Frames) -> Request:
    """At the broker: what a client sent."""
    dialect, at, path = _start(frames, C01, C02)
    if dialect is not Dialect.MDP01:
        wanted = CLIENT_REQUEST if dialect is Dialect.MDP02 else REQUEST_02
        _command(frames, at, wanted)
        at += 1
    if len(frames) < at + 2:
        raise DecodeError("a REQUEST has a service and a body", frames=frames)
    return Request(dialect, _service(frames[at]), frames[at + 1 :], path)


def read_reply(frames: Frames) -> Reply:
    """At the client: what the broker answered."""
    dialect, at, path = _start(frames, C01, C02)
    final = True
    if dialect is not Dialect.MDP01:
        partial, last = (CLIENT_PARTIAL, CLIENT_FINAL) if dialect is Dialect.MDP02 else (PARTIAL_02, FINAL_02)
        final = _command(frames, at, partial, last) == last
        at += 1
    service = b""
    if dialect is not Dialect.MAJORTOMO:
        if len(frames) <= at:
            raise DecodeError("a reply has a service", frames=frames)
        service = _service(frames[at])
        at += 1
    if len(frames) <= at:
        raise DecodeError("a reply has a body", frames=frames)
    return Reply(dialect, service, frames[at:], final, path)


def read_worker(frames: Frames) -> Ready | Result | Heartbeat | Disconnect:
    """At the broker: what a worker sent."""
    dialect, at, _ = _start(frames, W01, W02, path=False)
    if dialect is Dialect.MDP01:
        command = _command(frames, at, READY, REPLY, HEARTBEAT, DISCONNECT)
        heartbeat, disconnect, final = HEARTBEAT, DISCONNECT, True
    else:
        command = _command(frames, at, READY_02, PARTIAL_02, FINAL_02, HEARTBEAT_02, DISCONNECT_02)
        heartbeat, disconnect, final = HEARTBEAT_02, DISCONNECT_02, command == FINAL_02
    rest = frames[at + 1 :]
    if command == READY:
        if len(rest) != 1:
            raise DecodeError("READY has a service and nothing else", frames=frames)
        return Ready(dialect, _service(rest[0]))
    if command == heartbeat:
        return _heartbeat(dialect, rest, frames)
    if command == disconnect:
        return Disconnect(dialect)
    return Result(dialect, *_addressed(rest, frames), final)


def read_job(frames: Frames) -> Job | Heartbeat | Disconnect:
    """At the worker: what the broker sent."""
    dialect, at, _ = _start(frames, W01, W02, path=False)
    if dialect is Dialect.MDP01:
        command = _command(frames, at, REQUEST, HEARTBEAT, DISCONNECT)
        heartbeat, disconnect = HEARTBEAT, DISCONNECT
    else:
        command = _command(frames, at, REQUEST_02, HEARTBEAT_02, DISCONNECT_02)
        heartbeat, disconnect = HEARTBEAT_02, DISCONNECT_02
    rest = frames[at + 1 :]
    if command == heartbeat:
        return _heartbeat(dialect, rest, frames)
    if command == disconnect:
        return Disconnect(dialect)
    return Job(dialect, *_addressed(rest, frames))


def _start(frames: Frames, first: bytes, second: bytes, *, path: bool = True) -> tuple[Dialect, int, bytes]:
    """The dialect, where its header ends, and the request id before the delimiter."""
    dialect = recognise(frames)
    if dialect is None:
        raise DecodeError("no Majordomo header", frames=frames)
    at = 0 if dialect is Dialect.MDP02 else 1
    request_id = b""
    if dialect is Dialect.MDP01 and len(frames[0]):
        if not path:
            raise DecodeError("a worker has nothing before the delimiter", frames=frames)
        request_id, at = bytes(frames[0]), 2
    if frames[at] != (first if dialect is Dialect.MDP01 else second):
        raise DecodeError(f"not for this side: {bytes(frames[at])!r}", frames=frames)
    return dialect, at + 1, request_id


def _command(frames: Frames, at: int, *known: bytes) -> bytes:
    if len(frames) > at:
        for command in known:
            if frames[at] == command:
                return command
    raise DecodeError("an unknown command, or none", frames=frames)


def _service(frame: Frame) -> bytes:
    if not 0 < len(frame) <= 255:
        raise DecodeError("a service has a name of 1 to 255 bytes", frames=[frame])
    return bytes(frame)


def _addressed(rest: Frames, frames: Frames) -> tuple[bytes, Frames]:
    if len(rest) < 3 or len(rest[1]):
        raise DecodeError("one address, an empty frame and a body", frames=frames)
    return bytes(rest[0]), rest[2:]


def _heartbeat(dialect: Dialect, rest: Frames, frames: Frames) -> Heartbeat:
    if len(rest) > 1:
        raise DecodeError("a HEARTBEAT carries nothing", frames=frames)
    return Heartbeat(dialect, rest[0] if rest else b"")


# -- writing ------------------------------------------------------------------------------------------------------------


def write(command: Command) -> tuple[Frame, ...]:
    """The frames of a command, as the one side sends them and the other reads them."""
    kind, dialect = type(command), command.dialect
    old = dialect is Dialect.MDP01
    if isinstance(command, Request | Reply):
        front: tuple[Frame, ...] = () if dialect is Dialect.MDP02 else (command.id, b"") if command.id else (b"",)
        if old:
            return (*front, C01, command.service, *command.body)
        if isinstance(command, Request):
            number = CLIENT_REQUEST if dialect is Dialect.MDP02 else REQUEST_02
            return (*front, C02, number, command.service, *command.body)
        if dialect is Dialect.MDP02:
            return (C02, CLIENT_FINAL if command.final else CLIENT_PARTIAL, command.service, *command.body)
        return (b"", C02, FINAL_02 if command.final else PARTIAL_02, *command.body)
    front = (W02,) if dialect is Dialect.MDP02 else (b"", W01 if old else W02)
    if isinstance(command, Ready):
        return (*front, READY, command.service)
    if isinstance(command, Heartbeat):
        about = (command.about,) if len(command.about) else ()
        return (*front, HEARTBEAT if old else HEARTBEAT_02, *about)
    if isinstance(command, Disconnect):
        return (*front, DISCONNECT if old else DISCONNECT_02)
    if kind is Job:
        number = REQUEST
    elif old:
        number = REPLY
    else:
        number = FINAL_02 if isinstance(command, Result) and command.final else PARTIAL_02
    return (*front, number, command.address, b"", *command.body)
