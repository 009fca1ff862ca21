"""The frames of a call, and what goes together into one message."""

from __future__ import annotations

from hypothesis import given, strategies as st

from zpatterns.core import compose
from zpatterns.core.calls import EMPTY, NONE, Call
from zpatterns.wire import message as w

ID = bytes(range(16))


def call_of(method: str | None = "m", *, deadline: float = 7.5, payload: bytes = b"p", **more: object) -> Call:
    call = Call(method, payload, deadline, 3)
    call.id, call.attempt = ID, 1
    for name, value in more.items():
        setattr(call, name, value)
    return call


def test_the_budget_is_what_is_left_in_milliseconds_rounded_up() -> None:
    assert w.parse(compose.header(call_of(), 0.0, 64)).budget == 7500  # type: ignore[union-attr]
    assert w.parse(compose.header(call_of(), 5.0001, 64)).budget == 2500  # type: ignore[union-attr]
    assert w.parse(compose.header(call_of(), 5.0011, 64)).budget == 2499  # type: ignore[union-attr]


def test_a_budget_is_never_nothing() -> None:
    assert w.parse(compose.header(call_of(), 7.5, 64)).budget == 1  # type: ignore[union-attr]
    assert w.parse(compose.header(call_of(), 9.0, 64)).budget == 1  # type: ignore[union-attr]


def test_a_header_says_what_the_call_is() -> None:
    call = call_of("a.b", attempt=2, codec=3, flags=w.IDEMPOTENT, extra={"headers": {"a": "b"}})
    expected = w.Request("a.b", 7500, 2, 3, w.IDEMPOTENT, {"headers": {"a": "b"}})
    assert w.parse(compose.header(call, 0.0, 64)) == expected


def test_a_stream_says_its_credit_and_how_long_the_whole_may_take() -> None:
    call = call_of(deadline=60.0, stream=True, timeout=5.0, quiet_at=5.0, extra={"headers": {"a": "b"}})
    assert w.parse(compose.header(call, 1.0, 64)) == w.Request(
        "m", 4000, 1, 1, 0, {"headers": {"a": "b"}, "credit": 64, "deadline": 59_000}
    )
    late = call_of(deadline=60.0, stream=True, timeout=5.0, quiet_at=5.0)
    assert w.parse(compose.header(late, 70.0, 64)) == w.Request("m", 1, 1, 1, 0, {"credit": 64, "deadline": 1})


def test_a_dedupe_request_says_which_incarnation_may_take_it() -> None:
    call = call_of(incarnation=b"12345678")
    assert w.parse(compose.header(call, 0.0, 64)).extra == {"incarnation": b"12345678"}  # type: ignore[union-attr]
    call.extra = {"headers": {}}
    assert set(w.parse(compose.header(call, 0.0, 64)).extra) == {"headers", "incarnation"}  # type: ignore[union-attr]


def test_what_the_caller_passed_is_not_changed() -> None:
    extra = {"headers": {"a": "b"}}
    compose.header(call_of(extra=extra, incarnation=b"1", stream=True, quiet_at=1.0), 0.0, 64)
    assert extra == {"headers": {"a": "b"}}


def test_frames_of_a_call() -> None:
    call = call_of()
    head = compose.header(call, 0.0, 64)
    assert compose.frames(call, 0.0, 64) == (ID, b"", head, b"p")
    call.buffers = (b"one", b"two")
    assert compose.frames(call, 0.0, 64) == (ID, b"", head, b"p", b"one", b"two")


def test_frames_of_a_plain_call_have_the_envelope_it_asks_for() -> None:
    call = call_of(None, buffers=[b"q"])
    assert compose.frames(call, 0.0, 64) == (ID, b"", b"p", b"q")
    call.bare = EMPTY
    assert compose.frames(call, 0.0, 64) == (b"", b"p", b"q")
    call.bare = NONE
    assert compose.frames(call, 0.0, 64) == (b"p", b"q")


def test_frames_of_a_cancel() -> None:
    assert compose.cancel(call_of()) == (ID, b"", w.CANCEL_HEADER, b"")


def unpacked(frames: object) -> list[tuple[bytes, bytes, bytes]]:
    assert isinstance(frames, tuple)
    if len(frames) == 4:
        assert frames[1] == b""
        return [(frames[0], frames[2], frames[3])]
    assert frames[0] == b""
    items = w.decode_batch(w.parse(frames[1]), frames[2])
    return [(items[at], items[at + 1], items[at + 2]) for at in range(0, len(items), 3)]


def test_one_item_is_no_batch() -> None:
    assert list(compose.batches([(ID, b"h", b"p")])) == [(1, (ID, b"", b"h", b"p"))]


def test_nothing_is_no_message() -> None:
    assert list(compose.batches([])) == []


def test_a_batch_is_closed_when_it_is_large() -> None:
    items = [(ID, b"h", bytes(8192))] * 10
    assert [count for count, _ in compose.batches(items)] == [8, 2]
    assert [count for count, _ in compose.batches(items[:9])] == [8, 1]


def test_a_batch_is_closed_when_it_is_long() -> None:
    assert [count for count, _ in compose.batches([(ID, b"h", b"p")] * 600)] == [256, 256, 88]


sizes = st.integers(0, 300) | st.sampled_from((compose.BATCH_ITEM, 3000, w.HEADER_MAX))


@given(st.lists(st.tuples(sizes, sizes.filter(lambda size: size <= compose.BATCH_ITEM)), max_size=400))
def test_batches_keep_the_order_and_the_limits_of_the_wire(shape: list[tuple[int, int]]) -> None:
    items = [(at.to_bytes(16, "big"), bytes(header), bytes(payload)) for at, (header, payload) in enumerate(shape)]
    messages = list(compose.batches(items))
    assert [item for _, frames in messages for item in unpacked(frames)] == items
    assert [count for count, _ in messages] == [len(unpacked(frames)) for _, frames in messages]
