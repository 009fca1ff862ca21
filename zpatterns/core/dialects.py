"""How the broker speaks to each kind of peer: frames with the routing id in front. The hot forms of ``wire`` written out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import Status
from ..wire import message as w
from ..wire.majordomo import (
    C01,
    C02,
    CLIENT_FINAL,
    CLIENT_PARTIAL,
    DISCONNECT,
    DISCONNECT_02,
    FINAL_02,
    HEARTBEAT,
    HEARTBEAT_02,
    PARTIAL_02,
    REQUEST,
    REQUEST_02,
    W01,
    W02,
)
from ..wire.paranoid_pirate import HEARTBEAT as PPP_HEARTBEAT
from . import compose
from .broker_peers import Pending, Speech, Worker
from .machine import Frame

Message = tuple[Frame, ...]


def to_worker(worker: Worker, address: bytes, body: Sequence[Frame]) -> Message:
    """A request."""
    speech, routing_id = worker.speech, worker.routing_id
    if speech is Speech.MDP01:
        return (routing_id, b"", W01, REQUEST, address, b"", *body)
    if speech is Speech.MDP02:
        return (routing_id, W02, REQUEST_02, address, b"", *body)
    if speech is Speech.MAJORTOMO:
        return (routing_id, b"", W02, REQUEST_02, address, b"", *body)
    if speech is Speech.PARANOID:
        return (routing_id, address, b"", *body)
    return (routing_id, b"", address, b"", *body)


def batches_to(worker: Worker, items: Sequence[tuple[bytes, bytes, bytes]]) -> list[Message]:
    """Several requests for one of ours, in as few messages as they fit."""
    front = (worker.routing_id, b"", W01, REQUEST)
    return [(*front, *frames) if count == 1 else (*front, b"", *frames) for count, frames in compose.batches(items)]


def to_client(pending: Pending, body: Sequence[Frame], *, final: bool) -> Message | None:
    """An answer, or a part of one; None when the client's protocol has no parts."""
    speech, routing_id = pending.speech, pending.client.routing_id
    if speech is Speech.MDP01:
        if final or pending.stream:
            return (routing_id, *pending.path, C01, pending.service.name, *body)
        return None
    if speech is Speech.MDP02:
        return (routing_id, C02, CLIENT_FINAL if final else CLIENT_PARTIAL, pending.service.name, *body)
    if speech is Speech.MAJORTOMO:
        return (routing_id, b"", C02, FINAL_02 if final else PARTIAL_02, *body)
    return (routing_id, *pending.path, *body) if final else None


def batches_for(routing_id: bytes, service: bytes, items: Sequence[tuple[bytes, bytes, bytes]]) -> list[Message]:
    """Answers to one of our clients, in as few messages as they fit."""
    return [(routing_id, *frames[:-2], C01, service, *frames[-2:]) for _, frames in compose.batches(items)]


def heartbeat(worker: Worker) -> Message | None:
    """A sign of life; simple pirates have none."""
    speech, routing_id = worker.speech, worker.routing_id
    if speech is Speech.MDP01:
        return (routing_id, b"", W01, HEARTBEAT)
    if speech is Speech.MDP02:
        return (routing_id, W02, HEARTBEAT_02)
    if speech is Speech.MAJORTOMO:
        return (routing_id, b"", W02, HEARTBEAT_02)
    return (routing_id, PPP_HEARTBEAT) if speech is Speech.PARANOID else None


def disconnect(routing_id: bytes, speech: Speech) -> Message | None:
    """The end of a conversation; the pirates have none."""
    if speech is Speech.MDP01:
        return (routing_id, b"", W01, DISCONNECT)
    if speech is Speech.MDP02:
        return (routing_id, W02, DISCONNECT_02)
    return (routing_id, b"", W02, DISCONNECT_02) if speech is Speech.MAJORTOMO else None


def aged(header: w.Request, waited: float) -> bytes:
    """The header of a request that has waited so many seconds: its budget, and its deadline, are what is left."""
    spent = int(waited * 1000)
    extra: Mapping[str, Any] = header.extra
    if "deadline" in extra:
        extra = {**extra, "deadline": max(1, extra["deadline"] - spent)}
    return w.request(header.method, max(1, header.budget - spent), header.attempt, header.codec, header.flags, extra)


def error(status: Status, text: str, flags: int, incarnation: bytes, limit: int) -> tuple[bytes, bytes]:
    """Header and payload of what the broker itself has to say."""
    return w.error(status, flags, incarnation), w.encode_error(text, {}, limit)
