"""Envelopes: frames to routing path and body and back, and a printer for people who speak raw frames.

Pure functions over lists of frames; they know the empty delimiter (28/REQREP) and, to print, what headers look like.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from .errors import ConfigurationError
from .policy import Limits

Frame: TypeAlias = bytes | bytearray | memoryview

_MAGIC = b"\xc1zp"  # and a version byte: the header of a typed body, docs/wire.md
_SHOWN_FRAMES = Limits().frames

_WORKER_01 = {1: "READY", 2: "REQUEST", 3: "REPLY", 4: "HEARTBEAT", 5: "DISCONNECT"}
_CLIENT_02 = {1: "REQUEST", 2: "PARTIAL", 3: "FINAL"}
_WORKER_02 = {1: "READY", 2: "REQUEST", 3: "PARTIAL", 4: "FINAL", 5: "HEARTBEAT", 6: "DISCONNECT"}
_MAJORDOMO: dict[bytes, tuple[str, dict[int, str]]] = {
    b"MDPC01": ("MDP/0.1 client", {}),  # 7/MDP: the service follows, there is no command
    b"MDPW01": ("MDP/0.1 worker", _WORKER_01),
    b"MDPC02": ("MDP/0.2 client", _CLIENT_02),  # 18/MDP: client and worker number PARTIAL and FINAL differently
    b"MDPW02": ("MDP/0.2 worker", _WORKER_02),
}


def wrap(path: Iterable[Frame], body: Iterable[Frame]) -> list[bytes]:
    """Put a routing path and the empty delimiter before a body, as REQ, REP and their ROUTERs expect.

    An empty ``path`` gives what a REQ sends. For an empty body pass ``[b""]``: a message that ends with its
    delimiter gets no answer from a REP. Raises `ConfigurationError` for an empty frame in ``path``, since the
    receiver would end the path there.
    """
    frames = _copied(path)
    if b"" in frames:
        raise ConfigurationError(
            "the routing path has an empty frame, which would end it; pass the frames before it only"
        )
    return [*frames, b"", *_copied(body)]


def unwrap(frames: Iterable[Frame]) -> tuple[list[bytes], list[bytes]]:
    """Split a message at its first empty frame into routing path and body; the delimiter itself is left out.

    Without an empty frame there is no envelope: the path is ``[]`` and the body is everything.
    """
    copied = _copied(frames)
    if b"" not in copied:
        return [], copied
    at = copied.index(b"")
    return copied[:at], copied[at + 1 :]


def split(frames: Iterable[Frame]) -> tuple[bytes, list[bytes], list[bytes]]:
    """Split what a ROUTER received into the routing id it put in front, the routing path after it, and the body.

    To answer: ``wrap([routing_id, *path], reply)``; to a peer that sent no delimiter, a plain DEALER, send
    ``[routing_id, *reply]``. Raises `ConfigurationError` if there is no routing id in front: then the frames come from
    another kind of socket, and `unwrap` is for them.
    """
    copied = _copied(frames)
    if not copied or not copied[0]:
        raise ConfigurationError("no routing id in front; split() is for what a ROUTER received, use unwrap()")
    return copied[0], *unwrap(copied[1:])


def describe(frames: Sequence[Frame], limit: int = 64) -> str:
    """Show a message for debugging: a line a frame, with its length, its text or hex, and what it looks like.

    ::

        [0]     5 B  00 6b 8b 45 67  <- routing id
        [1]     0 B  <- delimiter
        [2]     5 B  'hello'

    At most ``limit`` bytes of a frame are shown, and as many frames as `Limits.frames`. Notes are guesses by shape
    (a routing id is what a ROUTER makes: five bytes, the first 0). What is not printable is shown in hex, so nothing
    reaches the terminal as a control character. Never raises: what cannot be read as bytes is said to be so.
    """
    lines: list[str] = []
    delimited = False
    header: bytes | None = None
    header_at = -1
    for index, frame in enumerate(frames[:_SHOWN_FRAMES]):
        read = _read(frame, max(limit, 6))  # 6: what the notes look at
        if read is None:
            lines.append(f"[{index}] not a readable frame: {type(frame).__name__}")
            continue
        head, size = read
        note = ""
        if size == 0:
            note = "empty" if delimited else "delimiter"
            delimited = True
        elif header is None and size == 6 and head in _MAJORDOMO:
            header, header_at = head, index
            note = _MAJORDOMO[head][0]
        elif header is not None and index == header_at + 1:
            note = _command(header, head, size)
        elif size > 3 and head.startswith(_MAGIC):
            note = f"zpatterns header, version {head[3]}"
        elif size == 5 and head[0] == 0:
            note = "routing id"
        parts = (f"[{index}] {size:>5} B", _show(head[: max(limit, 0)], size), note and f"<- {note}")
        lines.append("  ".join(part for part in parts if part))
    if len(frames) > _SHOWN_FRAMES:
        lines.append(f"... and {len(frames) - _SHOWN_FRAMES} more frames")
    return "\n".join(lines) or "(no frames)"


def _copied(frames: Iterable[Frame]) -> list[bytes]:
    # Through memoryview, since bytes(5) would be five zeros; bytes themselves are not copied.
    return [frame if type(frame) is bytes else memoryview(frame).tobytes() for frame in frames]


def _read(frame: Frame, limit: int) -> tuple[bytes, int] | None:
    """The first ``limit`` elements of a frame, and its length in bytes; None for what has none (a released view)."""
    try:
        view = memoryview(frame)
        few = view[:limit] if view.ndim else view  # a single value has no parts; elements may be several bytes
        return few.tobytes(), view.nbytes
    except (TypeError, ValueError, BufferError):
        return None


def _command(header: bytes, head: bytes, size: int) -> str:
    commands = _MAJORDOMO[header][1]
    if not commands:
        return "service"
    return commands.get(head[0], "unknown command") if size == 1 else "unknown command"


def _show(head: bytes, size: int) -> str:
    """Printable UTF-8 as a quoted string, everything else as hex; dots where it was cut."""
    cut = "..." if len(head) < size else ""
    text = _text(head, whole=not cut)
    return (repr(text) if text is not None else head.hex(" ")) + cut if head else cut


def _text(head: bytes, *, whole: bool) -> str | None:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        # A cut may fall inside a character: the rest of it is then at most 3 bytes, and nothing else is wrong.
        if whole or error.reason != "unexpected end of data":
            return None
        text = head[: error.start].decode()
    return text if text.isprintable() else None
