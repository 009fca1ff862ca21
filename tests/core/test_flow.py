"""PUSH and PULL without a socket: what becomes one message, what waits, and what is refused."""

from __future__ import annotations

import pytest

from zpatterns.core.flow import BARE, LISTED, Inflow, Outflow, sizes
from zpatterns.core.machine import Frames, Link, Sent
from zpatterns.errors import DecodeError
from zpatterns.wire import jobs as j


def out(flow: Outflow) -> list[Frames]:
    flow.flush(0.0)
    frames = [entry[1] for entry in flow.outbox]
    flow.outbox.clear()
    return frames


def test_items_of_a_turn_share_a_message() -> None:
    flow = Outflow(64)
    flow.put(1, b"a")
    assert out(flow) == [(j.item(1), b"a")]
    for payload in (b"a", b"b", b"c"):
        flow.put(1, payload)
    assert flow.waiting == 3
    assert out(flow) == [(j.items(1, 3), b"\x93abc")]
    assert (flow.waiting, flow.statistics.items, flow.statistics.messages) == (0, 4, 2)
    assert out(flow) == []


def test_a_message_is_complete() -> None:
    flow = Outflow(2)
    for number in range(3):
        flow.put(1, b"%d" % number)
    flow.put(2, b"other codec")
    flow.put(2, b"x", (b"buffer",))
    flow.put(2, b"y" * (j.ALONE + 1))
    assert [len(frames) for frames in out(flow)] == [2, 2, 2, 3, 2]
    flow = Outflow(1000)
    for _ in range(9):
        flow.put(1, b"x" * j.ALONE)
    assert [j.parse(frames[0]) for frames in out(flow)] == [j.Items(1, 8), j.Item(1)]
    flow = Outflow(1)
    flow.put(1, b"a")
    flow.put(1, b"b")
    assert [j.parse(frames[0]) for frames in out(flow)] == [j.Item(1)] * 2
    flow.put_bare((b"bare",))
    assert out(flow) == [(b"bare",)]


def test_items_that_are_an_array_already() -> None:
    flow = Outflow(2)
    flow.put(2, b"before")
    flow.put_list(b"\x93abc", 3)
    assert flow.waiting == 4
    assert out(flow) == [(j.item(2), b"before"), (j.items(1, 3), b"\x93abc")]


def test_many_small_items() -> None:
    flow = Outflow(2)
    flow.put(2, b"before")
    flow.put_many(1, [b"a", b"b", b"c"])
    assert flow.waiting == 4
    assert out(flow) == [
        (j.item(2), b"before"),
        (j.items(1, 2), b"\x92ab"),
        (j.item(1), b"c"),
    ]


def test_what_was_not_taken_waits_in_order() -> None:
    flow = Outflow(1)
    for payload in (b"a", b"b", b"c"):
        flow.put(1, payload)
    flow.flush(0.0)
    flow.outbox.popleft()
    _, _, token = flow.outbox.popleft()
    flow.sent(token, Sent.FULL, 0.0)
    assert flow.waiting == 2
    flow.put(1, b"d")
    assert out(flow) == []
    flow.link(0, Link.WRITABLE, 0.0)
    assert [frames[1] for frames in out(flow)] == [b"b", b"c", b"d"]
    assert (flow.waiting, flow.statistics.messages) == (0, 4)
    flow.receive(0, (b"",), 0.0)
    flow.dispatch(0.0)
    flow.wake(0.0)
    assert flow.wakes_at is None


def test_what_nobody_took_is_counted_when_it_is_closed() -> None:
    flow = Outflow(2)
    for number in range(5):
        flow.put(1, b"%d" % number)
    flow.flush(0.0)
    token = flow.outbox.popleft()[2]
    flow.sent(token, Sent.FULL, 0.0)
    flow.put(1, b"5")
    flow.close()
    flow.close()
    assert (flow.statistics.unsent, flow.waiting) == (6, 0)
    assert out(flow) == []


def test_what_was_on_its_way_when_it_is_closed_is_counted_too() -> None:
    flow = Outflow(2)
    for number in range(5):
        flow.put(1, b"%d" % number)
    flow.flush(0.0)
    flow.outbox.popleft()  # taken
    flow.put(1, b"5")
    flow.close()
    assert (flow.statistics.unsent, flow.statistics.messages, flow.waiting) == (4, 1, 0)
    assert out(flow) == []


def test_typed_items_come_in() -> None:
    flow = Inflow(bare=False)
    flow.receive(0, (j.item(1), b"a", b"buffer"), 0.0)
    flow.receive(0, (j.items(2, 2), j.encode_array([b"b", b"c"])), 0.0)
    flow.receive(0, (j.items(1, 2), b"\x92ab"), 0.0)
    assert list(flow.chunks) == [(1, [b"a"], (b"buffer",)), (2, [b"c", b"b"], ()), (LISTED, [b"\x92ab"], [b"\0\2"])]
    assert (flow.waiting, flow.statistics.items, flow.statistics.messages) == (3, 5, 3)
    flow.flush(0.0)
    flow.sent(None, Sent.FULL, 0.0)
    flow.link(0, Link.UP, 0.0)
    flow.dispatch(0.0)
    flow.wake(0.0)
    assert flow.wakes_at is None


@pytest.mark.parametrize(
    "frames",
    [
        (b"bare",),
        (b"two", b"frames"),
        (j.WHO_HEADER, b""),
        (j.items(2, 2), j.encode_array([b"b"])),
        (j.items(1, 1), j.encode_array([b"b"]), b"more"),
        (b"\xc1zp\x01", b""),
    ],
)
def test_what_is_no_item_is_an_error_in_its_place(frames: tuple[bytes, ...]) -> None:
    flow = Inflow(bare=False)
    flow.receive(0, frames, 0.0)
    [error] = flow.chunks
    assert isinstance(error, DecodeError)
    assert flow.statistics.undecodable == 1


def test_bare_messages() -> None:
    flow = Inflow(bare=True)
    flow.receive(0, (b"a",), 0.0)
    flow.receive(0, (b"a", b"b"), 0.0)
    chunk, error = flow.chunks
    assert chunk == (BARE, [b"a"], ())
    assert isinstance(error, DecodeError)
    assert error.frames == [b"a", b"b"]


def test_sizes() -> None:
    assert sizes(b"abc", (memoryview(b"12"), b"3")) == 6
