"""Sequences: what was lost, what is old, how old a message is, and what is forgotten."""

from __future__ import annotations

from zpatterns.core.gaps import Ledger, Line, Peer

T, A, B = b"topic\0", b"incarn-A", b"incarn-B"


def test_the_first_message_of_a_line_begins_it():
    line = Line(T, A, 0)
    assert line.arrive(41, 2) == (0, 0)
    assert line.next == 43


def test_a_number_that_is_skipped_is_lost():
    line = Line(T, A, 1)
    assert line.arrive(1, 1) == (0, 0)
    assert line.arrive(5, 3) == (3, 0)
    assert line.arrive(8, 1) == (0, 0)


def test_what_comes_again_is_old():
    line = Line(T, A, 10)
    assert line.arrive(7, 2) == (0, 2)
    assert line.arrive(8, 4) == (0, 2)
    assert line.next == 12


def test_a_loss_at_the_end_is_told_once():
    line = Line(T, A, 5)
    assert line.told(4) == 0
    assert line.told(7) == 3
    assert line.told(7) == 0
    assert line.arrive(8, 1) == (0, 0)
    assert Line(T, A, 0).told(9) == 0


def test_a_line_knows_its_names():
    line = Line(T, A, 0)
    assert (line.name, line.publisher) == ("topic", A.hex())


def test_age_is_counted_from_the_quickest_way():
    peer = Peer(A)
    assert peer.fresh(1_000_000, 101.0) == 101.0  # the first sets the offset: 100 s
    assert peer.fresh(2_000_000, 102.5) - 102.0 < 0.001  # half a second late
    assert peer.fresh(3_000_000, 102.9) == 102.9  # quicker than all before


def test_clocks_that_drift_apart_are_followed():
    peer = Peer(A)
    peer.fresh(0, 100.0)
    for day in range(1, 4):  # its clock is slow by 0.0001
        sent = day * 86_400 * (1 - 0.0001)
        now = 100.0 + day * 86_400
        assert abs(peer.fresh(int(sent * 1e6), now) - now) < 1e-3


def test_lines_are_found_by_topic_and_publisher():
    ledger = Ledger(10)
    one, other = ledger.add(T, A, 1), ledger.add(T, B, 1)
    assert ledger.current[T] is other
    assert ledger.line(T, A) is one
    assert ledger.current[T] is one
    assert ledger.line(b"else\0", A) is None
    assert ledger.lines() == [one, other]


def test_the_oldest_line_and_peer_are_forgotten_first():
    ledger = Ledger(2)
    for topic in (b"a\0", b"b\0", b"c\0"):
        ledger.add(topic, A, 1)
    assert [line.topic for line in ledger.lines()] == [b"b\0", b"c\0"]
    assert ledger.forgotten == 1
    assert set(ledger.current) == {b"b\0", b"c\0"}
    first = ledger.peer(A)
    assert ledger.peer(A) is first
    ledger.peer(B)
    ledger.peer(b"incarn-C")
    assert ledger.peer(A) is not first


def test_with_a_line_goes_what_the_echo_of_its_publisher_covered():
    ledger = Ledger(2)
    one, other = ledger.peer(A), ledger.peer(B)
    one.covers = other.covers = 7
    ledger.add(b"a\0", A, 1)
    ledger.add(b"a\0", B, 1)
    ledger.add(b"b\0", B, 1)
    assert (one.covers, other.covers) == (-1, 7)
    ledger = Ledger(1)
    ledger.add(b"a\0", A, 1)
    ledger.add(b"b\0", A, 1)  # its publisher is forgotten already
    assert ledger.peer(A).covers == -1


def test_dropping_a_line_leaves_another_that_is_current():
    ledger = Ledger(10)
    one, other = ledger.add(T, A, 1), ledger.add(T, B, 1)
    ledger.drop(one)
    assert ledger.current[T] is other
    ledger.drop(other)
    assert T not in ledger.current
