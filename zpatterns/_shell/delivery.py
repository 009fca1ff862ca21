"""What a reader is given: messages with their decoded bodies, opened when it comes to them and not before."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any, Generic, TypeVar

import msgpack

from ..codec import JSON, MSGPACK
from ..codec.bounds import refuse_ext
from ..contract import Topic
from ..core.intake import Chunk
from ..errors import DecodeError
from ..wire.published import BATCH_BYTES

T_co = TypeVar("T_co", covariant=True)


class Message(Generic[T_co]):
    """One message of a topic. Of a foreign publisher, ``body`` is the list of its frames and ``topic`` the text of the first."""

    __slots__ = ("body", "missed", "publisher", "sequence", "topic")

    body: T_co
    """Decoded and validated. Reading it raises DecodeError if it is not what the topic says; the next message is not touched."""
    topic: str
    missed: int
    """Messages of this topic and publisher that this reader did not get right before this one, for whatever reason."""
    publisher: str
    """The publisher's incarnation, in hex: another one after each of its starts. Empty for a foreign publisher."""
    sequence: int
    """Its number: 1 for the first message of this topic by this publisher. 0 for a foreign publisher."""

    def __init__(self, topic: str, body: Any, missed: int, publisher: str, sequence: int) -> None:
        self.topic = topic
        self.body = body
        self.missed = missed
        self.publisher = publisher
        self.sequence = sequence

    def __repr__(self) -> str:
        return f"Message({self.topic!r}, {self.body!r}, missed={self.missed}, sequence={self.sequence})"


class Undecodable(Message[Any]):
    """Its body does not decode: whoever reads it is told."""

    __slots__ = ("error",)

    def __init__(self, topic: str, error: DecodeError, missed: int, publisher: str, sequence: int) -> None:
        self.topic = topic
        self.error = error
        self.missed = missed
        self.publisher = publisher
        self.sequence = sequence

    @property
    def body(self) -> Any:
        """Raises what decoding raised."""
        raise self.error

    def __repr__(self) -> str:
        return f"Undecodable({self.topic!r}, {self.error!r}, missed={self.missed}, sequence={self.sequence})"


def opened(chunk: Chunk, missed: int) -> list[Message[Any]]:
    """The messages of a chunk. Never raises: what does not decode raises when it is looked at."""
    route = chunk.route
    topic: Topic[Any] | None = route.application
    line = route.line
    if topic is None or line is None:
        frames = [frame if type(frame) is bytes else bytes(frame) for frame in chunk.frames]
        return [Message(frames[0].decode(errors="replace"), frames, 0, "", 0)]
    name, publisher = line.name, line.publisher
    first = chunk.first
    if chunk.count == 1:
        try:
            body = topic.body_codec.decode(chunk.codec, chunk.payload, chunk.frames)
        except DecodeError as error:
            route.intake.undecodable += 1
            return [Undecodable(name, error, missed, publisher, first)]
        return [Message(name, body, missed, publisher, first)]
    try:
        bodies = topic.many_codec.decode(chunk.codec, chunk.payload)
    except DecodeError:
        return _one_by_one(chunk, topic, missed)
    if len(bodies) != chunk.count:
        return _one_by_one(chunk, topic, missed)
    start = chunk.start
    if start or chunk.stop != chunk.count:
        bodies = bodies[start : chunk.stop]
        first += start
    messages: list[Message[Any]] = [
        Message(name, body, 0, publisher, sequence) for sequence, body in enumerate(bodies, first)
    ]
    messages[0].missed = missed
    return messages


def _one_by_one(chunk: Chunk, topic: Topic[Any], missed: int) -> list[Message[Any]]:
    """One of several bodies does not decode: find out which."""
    line = chunk.route.line
    assert line is not None
    codec = topic.body_codec
    payloads = _split(chunk)
    messages: list[Message[Any]] = []
    for index in range(chunk.start, chunk.stop):
        at = line.name, missed if index == chunk.start else 0, line.publisher, chunk.first + index
        try:
            if payloads is None:
                raise DecodeError("several bodies that are not an array of so many", frames=[chunk.payload])
            body = codec.decode(chunk.codec, payloads[index])
        except DecodeError as error:
            chunk.route.intake.undecodable += 1
            messages.append(Undecodable(at[0], error, *at[1:]))
        else:
            messages.append(Message(at[0], body, *at[1:]))
    return messages


def _split(chunk: Chunk) -> list[bytes] | None:
    """The payloads of several bodies; None if it is not that."""
    if len(chunk.payload) > 2 * BATCH_BYTES:  # reading it without a look at its type could take twenty times as much
        return None
    payload = bytes(chunk.payload)
    try:
        if chunk.codec == MSGPACK:
            found = _split_packed(payload)
        elif chunk.codec == JSON:
            found = [json.dumps(each).encode() for each in json.loads(payload)]
        else:
            found = msgpack.unpackb(payload, ext_hook=refuse_ext)
            if {*map(type, found)} - {bytes}:
                return None
    except Exception:  # noqa: BLE001  whatever it is, it is no array of bodies
        return None
    return found if len(found) == chunk.count else None


def _split_packed(payload: bytes) -> list[bytes]:
    unpacker = msgpack.Unpacker(max_buffer_size=len(payload))
    unpacker.feed(payload)
    count = unpacker.read_array_header()
    marks: list[int] = [unpacker.tell()]
    for _ in range(count):
        unpacker.skip()
        marks.append(unpacker.tell())
    if marks[-1] != len(payload):
        raise ValueError("something after the array")
    return [payload[start:stop] for start, stop in pairwise(marks)]
