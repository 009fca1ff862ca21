"""The pirates on the wire: 6/PPP between a queue and its workers, and the READY of the guide's simple pirate (ch. 4).

Commands as dataclasses, to frames and back, those behind the routing id that a ROUTER puts in front. Clients of both
are plain REQs. A paranoid worker is a DEALER and puts no empty frame in front, a simple one is a REQ and does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from ..errors import DecodeError

Frame: TypeAlias = bytes | memoryview
Frames: TypeAlias = Sequence[Frame]

READY, HEARTBEAT = b"\x01", b"\x02"
READY_TEXT = b"READY"
"""What lbbroker's workers say instead of 0x01."""


class Kind(Enum):
    """Which pirate a worker is."""

    PARANOID = "6/PPP"
    SIMPLE = "simple pirate"


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker is there; the first message of every conversation."""

    kind: Kind
    text: bytes = READY


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A sign of life, either way; paranoid pirates only."""


@dataclass(frozen=True, slots=True)
class Work:
    """A request on its way to a worker, or the reply on its way back. ``address`` is opaque to the worker."""

    kind: Kind
    address: bytes
    body: Frames


Command: TypeAlias = Ready | Heartbeat | Work


def read(frames: Frames) -> Command:
    """What one side received from the other; raises DecodeError for anything else.

    A reply of one frame cannot be told from a READY by its length: it has an address in front.
    """
    kind = Kind.PARANOID
    rest = frames
    if rest and not len(rest[0]):
        kind, rest = Kind.SIMPLE, rest[1:]
    if len(rest) == 1:
        if rest[0] == READY or (kind is Kind.SIMPLE and rest[0] == READY_TEXT):
            return Ready(kind, bytes(rest[0]))
        if rest[0] == HEARTBEAT and kind is Kind.PARANOID:
            return Heartbeat()
    elif len(rest) >= 3 and len(rest[0]) and not len(rest[1]):
        return Work(kind, bytes(rest[0]), rest[2:])
    raise DecodeError("neither READY nor HEARTBEAT nor an address, an empty frame and a body", frames=frames)


def write(command: Command) -> tuple[Frame, ...]:
    """The frames of a command."""
    if isinstance(command, Heartbeat):
        return (HEARTBEAT,)
    front: tuple[Frame, ...] = (b"",) if command.kind is Kind.SIMPLE else ()
    if isinstance(command, Ready):
        return (*front, command.text)
    return (*front, command.address, b"", *command.body)
