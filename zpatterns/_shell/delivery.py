"""What a reader is given: messages with their decoded bodies, opened when it comes to them and not before."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, count as counting, pairwise, repeat
from threading import Lock
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import msgpack

from ..codec import JSON, MSGPACK, RAW
from ..codec.bounds import refuse_ext
from ..contract import Topic
from ..core.intake import Chunk
from ..errors import DecodeError
from ..wire.published import BATCH_BYTES, join

T_co = TypeVar("T_co", covariant=True)


class Source:
    """What the messages of one topic and publisher have in common."""

    __slots__ = ("_fields", "publisher", "topic", "wanted")

    def __init__(self, topic: str, publisher: str, wanted: Topic[Any] | None) -> None:
        self.topic: str = topic
        self.publisher: str = publisher
        self.wanted: Topic[Any] | None = wanted
        """As it was subscribed to; None for the messages of a foreign publisher."""
        self._fields: Mapping[str, str] | None = None

    @property
    def fields(self) -> Mapping[str, str]:
        """The values of its placeholders, looked for once."""
        if self._fields is None:
            found = self.wanted.match(self.topic) if self.wanted is not None else None
            self._fields = MappingProxyType(found or {})
        return self._fields


class Message(Generic[T_co]):
    """One message of a topic. Of a foreign publisher, ``body`` is the list of its frames and ``topic`` the text of the first."""

    __slots__ = ("_source", "body", "missed", "sequence")

    body: T_co
    """Decoded and validated. Reading it raises DecodeError if it is not what the topic says; the next message is not touched."""
    missed: int
    """Messages of this topic and publisher that this reader did not get right before this one, for whatever reason."""
    sequence: int
    """Its number: 1 for the first message of this topic by this publisher. 0 for a foreign publisher."""

    def __init__(self, source: Source, body: Any, sequence: int, missed: int) -> None:
        self._source = source
        self.body = body
        self.sequence = sequence
        self.missed = missed

    @property
    def topic(self) -> str:
        """The name it was published under."""
        return self._source.topic

    @property
    def fields(self) -> Mapping[str, str]:
        """The parts of its topic that stand for the placeholders of what was subscribed to: ``{"room": "a1"}``."""
        return self._source.fields

    @property
    def publisher(self) -> str:
        """The publisher's incarnation, in hex: another one after each of its starts. Empty for a foreign publisher."""
        return self._source.publisher

    def __repr__(self) -> str:
        return f"Message({self.topic!r}, {self.body!r}, missed={self.missed}, sequence={self.sequence})"


class Undecodable(Message[Any]):
    """Its body does not decode: whoever reads it is told."""

    __slots__ = ("error",)

    def __init__(self, source: Source, error: DecodeError, sequence: int, missed: int) -> None:
        self._source = source
        self.error = error
        self.sequence = sequence
        self.missed = missed

    @property
    def body(self) -> Any:
        """Raises what decoding raised."""
        raise self.error

    def __repr__(self) -> str:
        return f"Undecodable({self.topic!r}, {self.error!r}, missed={self.missed}, sequence={self.sequence})"


class Rest:
    """What came together and nobody has read yet: shared by all that read one queue."""

    __slots__ = ("messages", "refilling")

    def __init__(self) -> None:
        self.messages: Iterator[Message[Any]] = iter(())
        """Decoded already. A step of it is one call of C, so threads may share it."""
        self.refilling: Lock = Lock()
        """Held by the one thread that waits for more."""


def opened(chunk: Chunk, missed: int) -> Iterator[Message[Any]]:
    """The messages of a chunk. Never raises: what does not decode raises when it is looked at."""
    route = chunk.route
    topic: Topic[Any] | None = route.application
    line = route.line
    if topic is None or line is None:
        frames = [frame if type(frame) is bytes else bytes(frame) for frame in chunk.frames]
        return _alone(Message(Source(frames[0].decode(errors="replace"), "", None), frames, 0, 0))
    source: Source | None = route.source
    if source is None or source.wanted is not topic:
        source = route.source = Source(line.name, line.publisher, topic)
    first, run = chunk.first, chunk.run
    if chunk.count == 1:
        try:
            body = topic.body_codec.decode(chunk.codec, chunk.payload, chunk.frames)
        except DecodeError as error:
            route.intake.undecodable += 1
            return _alone(Undecodable(source, error, first, missed))
        return _alone(Message(source, body, first, missed))
    bodies: Sequence[Any] = ()
    try:
        if chunk.codec == RAW:
            pass  # bytes as they are: nothing is gained by reading several at once
        elif run is None:
            bodies = topic.many_codec.decode(chunk.codec, chunk.payload)
        elif sum(map(len, run)) <= BATCH_BYTES:
            bodies = topic.many_codec.decode(chunk.codec, join(chunk.codec, run))
    except DecodeError:
        pass
    if len(bodies) != chunk.count:
        return iter(_one_by_one(chunk, topic, source, missed))
    start = chunk.start
    if start or chunk.stop != chunk.count:
        bodies = bodies[start : chunk.stop]
        first += start
    if not missed:
        return map(Message, repeat(source), bodies, counting(first), repeat(0))
    rest = iter(bodies)
    head: Message[Any] = Message(source, next(rest), first, missed)
    return chain((head,), map(Message, repeat(source), rest, counting(first + 1), repeat(0)))


def _alone(message: Message[Any]) -> Iterator[Message[Any]]:
    return iter((message,))


def _one_by_one(chunk: Chunk, topic: Topic[Any], source: Source, missed: int) -> list[Message[Any]]:
    """One of several bodies does not decode, or they are too large to be read at once: each by itself."""
    codec = topic.body_codec
    payloads = chunk.run if chunk.run is not None else _split(chunk)
    messages: list[Message[Any]] = []
    for index in range(chunk.start, chunk.stop):
        try:
            if payloads is None:
                raise DecodeError("several bodies that are not an array of so many", frames=[chunk.payload])
            body = codec.decode(chunk.codec, payloads[index])
        except DecodeError as error:
            chunk.route.intake.undecodable += 1
            messages.append(Undecodable(source, error, chunk.first + index, missed))
        else:
            messages.append(Message(source, body, chunk.first + index, missed))
        missed = 0
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
