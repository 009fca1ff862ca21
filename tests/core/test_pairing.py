"""One end of a pair, played by hand: greetings, farewells, what a broken connection swallowed, and second peers."""

from __future__ import annotations

from typing import Any

from zpatterns.core.calls import Reopen
from zpatterns.core.machine import Frames, Link, Sent
from zpatterns.core.pairing import Pairing, Peer, Received, Refused, frames_of
from zpatterns.wire import pair as w

ME, PEER, OTHER = b"end-0001", b"end-0002", b"end-0003"
NOW = 100.0
FIRST, AGAIN = w.Hello(ME, 0, b""), w.Hello(ME, 0, PEER)
"""Greetings before and after the peer has greeted."""
ANSWER = w.Welcome(ME, 0, PEER)


class End:
    """A machine, and what its driver would do."""

    def __init__(self, **options: Any) -> None:
        self.machine = Pairing(incarnation=ME, patience=5.0, backoff=(0.1, 0.3), **options)
        self.statistics = self.machine.statistics
        self.now = NOW

    def link(self, *states: Link) -> None:
        for state in states:
            self.machine.link(0, state, self.now)

    def receive(self, frames: Frames) -> None:
        self.machine.receive(0, frames, self.now)

    def greeted(self, who: bytes = PEER, sent: int = 0, to: bytes = b"") -> None:
        self.receive(w.hello(who, sent, to))

    def welcomed(self, who: bytes = PEER, sent: int = 0, to: bytes = ME) -> None:
        self.receive(w.welcome(who, sent, to))

    def out(self, full_at: int | None = None) -> list[Any]:
        """What a flush hands to libzmq, which takes ``full_at`` messages; commands, or payloads of items."""
        machine = self.machine
        machine.flush(self.now)
        taken: list[Any] = []
        while machine.outbox:
            _, frames, token = machine.outbox.popleft()
            if full_at is not None and len(taken) >= full_at:
                machine.sent(token, Sent.FULL, self.now)
            else:
                command = w.parse(frames[0]) if frames[0][:3] == b"\xc1zp" else frames
                taken.append(frames[1] if isinstance(command, w.Item) else command)
        machine.settle()
        return taken

    def send(self, *payloads: bytes) -> None:
        for payload in payloads:
            self.machine.send(frames_of(1, payload, ()))

    def events(self) -> list[Any]:
        events = list(self.machine.events)
        self.machine.events.clear()
        return events

    def pass_time(self, seconds: float) -> None:
        """In steps, as the machine asks."""
        until = self.now + seconds
        while (at := self.machine.wakes_at) is not None and at <= until:
            self.now = max(self.now, at)
            self.machine.wake(self.now)
        self.now = until


def connected(**options: Any) -> End:
    end = End(accepts=False, **options)
    end.link(Link.UP)
    assert end.out() == [FIRST]
    end.welcomed()
    assert end.machine.paired
    end.events()
    return end


def bound(**options: Any) -> End:
    end = End(accepts=True, **options)
    end.greeted()
    assert end.out() == [ANSWER]
    end.events()
    return end


# -- greeting ----------------------------------------------------------------------------------------------------------


def test_the_end_that_connects_greets_and_sends_nothing_before_the_answer() -> None:
    end = End(accepts=False)
    end.send(b"a", b"b")
    assert end.out() == []
    end.link(Link.UP)
    assert end.out() == [FIRST]
    assert not end.machine.paired
    end.welcomed()
    assert end.machine.paired
    assert end.out() == [b"a", b"b"]
    assert end.events() == [Peer(up=True, closed=False, reason="it greeted")]
    assert (end.statistics.peers, end.statistics.sent) == (1, 2)
    assert end.machine.wakes_at is None


def test_the_bound_end_answers() -> None:
    end = End(accepts=True)
    end.send(b"a")
    assert end.out() == []
    end.greeted()
    assert end.out() == [ANSWER, b"a"]


def test_the_bound_end_asks_who_is_there_also_when_it_knows() -> None:
    """The monitor may be later than the message, and another may have taken the place of the one we know."""
    end = bound()
    end.link(Link.UP)
    assert end.machine.paired
    assert end.out() == [AGAIN]
    end.welcomed()
    assert end.out() == []
    assert end.machine.wakes_at is None
    end.link(Link.UP)
    assert end.out(full_at=0) == []  # there is no pipe
    assert not end.machine.paired
    end.link(Link.WRITABLE)
    assert end.out() == [AGAIN]
    end.welcomed()
    assert end.machine.paired


def test_no_room_for_the_question_is_no_answer() -> None:
    end = bound()
    end.send(b"a")
    assert end.out(full_at=0) == []
    end.link(Link.UP)
    assert end.out(full_at=0) == []
    assert end.machine.paired
    end.pass_time(5.0)
    assert not end.machine.paired
    [refused, gone] = end.events()
    assert isinstance(refused, Refused)
    assert gone == Peer(up=False, closed=False, reason="it does not answer")


def test_a_connected_end_that_is_greeted_answers() -> None:
    end = connected()
    end.send(b"a")
    end.out()
    end.greeted(to=ME)
    assert end.out() == [w.Welcome(ME, 1, PEER)]
    assert end.events() == []
    end = End(accepts=False)
    end.greeted()  # before its own handshake is reported
    assert end.out() == [ANSWER]
    assert end.machine.paired
    end.link(Link.UP)
    end.pass_time(10.0)  # the answer to its own greeting may lie behind items that nobody reads yet
    assert end.machine.paired
    assert Reopen(0) not in end.events()


def test_greetings_and_answers_for_which_there_is_no_room_are_sent_later() -> None:
    end = End(accepts=True)
    end.greeted()
    end.send(b"a")
    assert end.out(full_at=0) == []
    end.link(Link.WRITABLE)
    assert end.out() == [ANSWER, b"a"]
    end = End(accepts=False)
    end.link(Link.UP)
    assert end.out(full_at=0) == []
    end.link(Link.WRITABLE)
    assert end.out() == [FIRST]


def test_a_bound_end_that_nobody_greets() -> None:
    end = End(accepts=True)
    end.link(Link.UP)
    end.pass_time(6.0)
    [event, fresh] = end.events()
    assert isinstance(event, Refused)
    assert "plain=True" in event.reason
    assert fresh == Reopen(0)  # it must not hold the place
    assert end.statistics.refused == 0
    assert end.machine.wakes_at is None


def test_others_do_not_prolong_the_time_of_one_that_is_mute() -> None:
    end = End(accepts=True)
    end.link(Link.UP)
    for _ in range(4):
        end.pass_time(1.2)
        assert end.events() == []
        end.link(Link.SECOND)
    end.pass_time(0.2)
    assert end.events()[-1] == Reopen(0)


# -- items -------------------------------------------------------------------------------------------------------------


def test_items_in_and_out() -> None:
    end = connected()
    end.receive(frames_of(1, b"in", (b"buffer",)))
    assert end.events() == [Received(1, (b"in", b"buffer"))]
    end.send(b"one", b"two", b"three", b"four")
    assert end.out(full_at=1) == [b"one"]
    assert (end.machine.settle(), end.statistics.sent) == (1, 1)
    end.send(b"five")
    assert end.out() == []
    end.link(Link.WRITABLE)
    assert end.out() == [b"two", b"three", b"four", b"five"]
    assert end.statistics.sent == 5
    end.machine.dispatch(NOW)


def test_a_greeting_among_items_that_were_not_taken_is_kept() -> None:
    end = bound()
    end.send(b"one", b"two")
    end.machine.flush(NOW)
    end.greeted(to=ME)
    assert end.out(full_at=0) == []
    end.link(Link.WRITABLE)
    assert end.out() == [ANSWER, b"one", b"two"]


def test_a_reader_that_is_behind() -> None:
    end = connected(high_water_mark=3)
    for _ in range(3):
        assert end.machine.expects
        end.receive(frames_of(1, b"x", ()))
    assert not end.machine.expects
    end.machine.read(1)
    assert end.machine.expects


def test_what_is_no_message_of_a_pair() -> None:
    end = connected()
    for frames in ([b"bare"], [w.item(1)], [b"\xc1zp\1\x91\x05", b""], [b""]):
        end.receive(frames)
    assert [event.codec for event in end.events()] == [-1] * 4
    assert (end.statistics.undecodable, end.statistics.received) == (4, 0)


def test_plain() -> None:
    for accepts in (True, False):
        end = End(accepts=accepts, plain=True)
        end.machine.send([b"a", b"b"])
        assert end.out() == []
        end.link(Link.UP)
        assert end.events() == [Peer(up=True, closed=False, reason="connected")]
        assert end.out() == [[b"a", b"b"]]
        end.receive([b"\xc1zp", b"is", b"not", b"read"])
        assert end.events() == [Received(0, [b"\xc1zp", b"is", b"not", b"read"])]
        end.machine.close()
        assert end.out() == []
        assert end.machine.answered


# -- connections that break --------------------------------------------------------------------------------------------


def test_what_was_lost_shows_when_the_peer_greets_again() -> None:
    end = connected()
    for _ in range(3):
        end.receive(frames_of(1, b"x", ()))
    end.events()
    end.link(Link.DOWN)
    assert end.events() == [Peer(up=False, closed=False, reason="the connection is gone")]
    end.send(b"later")
    assert end.out() == []
    end.link(Link.DOWN)
    assert end.events() == []
    end.link(Link.UP)
    assert end.out() == [AGAIN]
    end.welcomed(sent=10)
    assert end.statistics.missed == 7
    assert end.out() == [b"later"]
    end.welcomed(sent=10)
    assert end.statistics.missed == 7


def test_numbers_are_for_one_peer() -> None:
    end = bound()
    end.send(b"a", b"b")
    end.receive(frames_of(1, b"x", ()))
    end.out()
    end.events()
    end.greeted(OTHER, sent=500, to=PEER)
    assert [event.up for event in end.events()] == [False, True]
    assert end.statistics.missed == 0
    end.send(b"c")
    assert end.out() == [w.Welcome(ME, 0, OTHER), b"c"]
    end.receive(frames_of(1, b"x", ()))
    end.greeted(OTHER, sent=3, to=ME)
    assert end.statistics.missed == 2
    assert end.out() == [w.Welcome(ME, 1, OTHER)]
    end.machine.close()
    assert end.out() == [w.Bye(1)]


def test_a_first_answer_that_was_lost() -> None:
    """The bound end has sent, and its connection broke before anything came."""
    end = End(accepts=False)
    end.link(Link.UP, Link.DOWN, Link.UP)
    end.welcomed(sent=3)
    assert end.statistics.missed == 3


def test_a_peer_that_comes_back_after_another() -> None:
    end = bound()
    for _ in range(3):
        end.receive(frames_of(1, b"x", ()))
    end.greeted(OTHER)
    end.greeted(PEER, sent=4, to=ME)
    assert end.statistics.missed == 1
    for number in range(100):
        end.greeted(b"other%d" % number)
    assert len(end.machine._earlier) == 16


def test_greetings_for_a_connection_that_is_gone_are_not_sent() -> None:
    end = End(accepts=False)
    end.link(Link.UP, Link.DOWN)
    assert end.out() == []
    end.link(Link.UP, Link.REFUSED)
    assert end.out() == []
    end = bound()
    end.link(Link.REFUSED)
    assert end.events() == [Peer(up=False, closed=False, reason="the handshake failed")]


# -- second peers ------------------------------------------------------------------------------------------------------


def test_a_second_peer_at_the_bound_end() -> None:
    end = bound()
    end.link(Link.SECOND)
    assert end.machine.paired
    assert end.out() == []
    [event] = end.events()
    assert isinstance(event, Refused)
    assert end.statistics.refused == 1
    end.link(Link.DOWN, Link.SECOND)  # nobody is here: it may be the peer now
    assert end.statistics.refused == 1
    assert end.out() == [AGAIN]


def test_the_end_that_is_refused_tries_again_with_growing_pauses() -> None:
    """At once, for the place may just have become free; and says so when it is not, after its patience."""
    end = End(accepts=False)
    began = end.now
    tried = []
    while not end.machine.taken:
        end.link(Link.UP)
        assert end.out() == [FIRST]
        tried.append(round(end.now - began, 6))
        assert end.machine.wakes_at is not None
        end.pass_time(end.machine.wakes_at - end.now)
        event = end.events()
        assert event[-1] == Reopen(0)
        end.link(Link.DOWN)  # the driver says so when it reopens
        assert len(event) == 1 or isinstance(event[0], Refused)
    assert tried[:5] == [0.0, 0.1, 0.3, 0.6, 0.9]
    assert 5.0 <= end.now - began < 5.4
    assert end.statistics.refused == 1
    end.link(Link.UP)
    end.pass_time(0.3)
    assert (end.statistics.refused, end.events()) == (2, [Reopen(0)])  # counted, and not told again
    end.link(Link.DOWN, Link.UP)
    end.welcomed()
    assert (end.machine.taken, end.machine.paired) == (False, True)
    end.link(Link.DOWN, Link.UP)
    assert end.machine.wakes_at == end.now + 0.1


def test_a_refused_end_whose_connection_breaks_is_refused_no_longer() -> None:
    end = End(accepts=False)
    for _ in range(30):
        end.link(Link.UP)
        end.pass_time(0.3)
        end.events()
        end.link(Link.DOWN)
    assert end.machine.taken
    end.link(Link.DOWN)
    assert not end.machine.taken


def test_over_inproc_nobody_may_be_bound_yet() -> None:
    end = End(accepts=False, linked=False)
    end.link(Link.UP)
    assert end.out() == [FIRST]
    for _ in range(30):
        end.pass_time(0.3)
        assert set(end.out()) <= {FIRST}  # taken: there is a pipe, and nobody to close it
    assert not end.machine.taken
    end.pass_time(0.3)
    assert end.out(full_at=0) == []  # the pipe was closed: somebody is bound, and has another
    assert end.machine.taken
    assert end.events()[-1] == Reopen(0)


def test_over_inproc_a_pipe_that_is_closed_soon() -> None:
    end = End(accepts=False, linked=False)
    end.link(Link.UP)
    end.out()
    end.pass_time(0.1)
    end.out(full_at=0)
    assert not end.machine.taken
    assert end.events() == [Reopen(0)]


def test_both_times_at_once() -> None:
    end = connected(linked=False)
    end.receive(w.bye(0))
    end.pass_time(0.05)
    end.link(Link.UP)
    assert end.machine.wakes_at == NOW + 0.1


# -- farewells ---------------------------------------------------------------------------------------------------------


def test_a_farewell() -> None:
    end = connected()
    end.send(b"a", b"b")
    end.out()
    end.machine.close()
    assert end.out() == [w.Bye(2)]
    assert not end.machine.answered
    end.receive(frames_of(1, b"late", ()))
    end.receive(w.bye(3))
    assert end.out() == []
    assert end.machine.answered
    assert (end.statistics.received, end.statistics.missed) == (1, 2)


def test_a_farewell_that_the_connection_did_not_survive() -> None:
    end = connected()
    end.machine.close()
    end.out()
    end.link(Link.DOWN)
    assert end.machine.answered


def test_a_farewell_for_which_there_is_no_room() -> None:
    end = connected()
    end.machine.close()
    assert end.out(full_at=0) == []
    assert not end.machine.answered  # the driver gives up after its linger
    assert end.out() == []
    for _ in range(2):
        end.link(Link.WRITABLE)
        assert end.out(full_at=0) == []
    end.link(Link.WRITABLE)
    assert end.out() == [w.Bye(0)]
    end.link(Link.WRITABLE)
    assert end.out() == []


def test_an_answer_for_which_there_is_no_room_is_not_for_the_next_peer() -> None:
    end = bound()
    end.receive(w.bye(0))
    assert end.out(full_at=0) == []
    end.link(Link.WRITABLE)
    assert end.out() == []
    end.greeted(OTHER)
    assert end.out() == [w.Welcome(ME, 0, OTHER)]


def test_a_farewell_without_room_on_a_connection_that_breaks() -> None:
    end = connected()
    end.machine.close()
    assert end.out(full_at=0) == []
    end.link(Link.DOWN, Link.WRITABLE)
    assert end.out() == []
    assert end.machine.answered


def test_over_inproc_a_peer_that_was_closed_without_a_farewell() -> None:
    """The driver knows, and says so when all that it sent has been read."""
    closed = [Peer(up=False, closed=True, reason="it was closed")]
    for accepts in (True, False):
        end = (bound if accepts else connected)(linked=False)
        assert end.machine.peer == PEER
        end.machine.gone(end.now)
        assert end.machine.peer == b""
        assert end.events() == closed
        assert not end.machine.over
        end.pass_time(0.1)
        assert end.events() == ([] if accepts else [Reopen(0)])  # for another to come
        end = (bound if accepts else connected)(linked=False, lasting=False)
        end.machine.close()
        end.out(full_at=0)
        end.machine.gone(end.now)
        assert end.machine.answered
        assert end.machine.over
        assert end.machine.wakes_at is None
        end.link(Link.WRITABLE)
        assert end.out() == []


def test_closing_without_a_peer_counts_what_is_given_up() -> None:
    end = End(accepts=True)
    end.send(b"a", b"b")
    end.machine.close()
    assert end.machine.answered
    assert end.out() == []
    assert (end.statistics.unsent, end.statistics.sent) == (2, 0)


def test_what_is_sent_after_the_farewell_is_counted() -> None:
    end = connected()
    end.send(b"a")
    end.machine.close()
    end.send(b"b", b"c")
    assert end.out() == [w.Bye(0)]
    assert (end.statistics.unsent, end.statistics.sent) == (3, 0)


def test_the_peers_farewell_is_answered() -> None:
    end = connected()
    end.send(b"a")
    end.out()
    end.receive(frames_of(1, b"x", ()))
    end.receive(w.bye(2))
    assert end.out() == [w.Bye(1)]
    assert end.events()[1:] == [Peer(up=False, closed=True, reason="it was closed")]
    assert end.statistics.missed == 1
    assert not end.machine.over  # another may come
    assert end.machine.wakes_at is None
    end.link(Link.DOWN, Link.UP)
    end.welcomed(OTHER)
    assert end.machine.paired


def test_a_farewell_that_is_read_after_the_connection_has_gone() -> None:
    end = connected()
    end.link(Link.DOWN)
    end.events()
    end.receive(w.bye(0))
    assert end.events() == [Peer(up=False, closed=True, reason="it was closed")]


def test_inproc_connects_again_by_asking_for_a_fresh_socket() -> None:
    end = connected(linked=False)
    end.receive(w.bye(0))
    end.events()
    end.pass_time(0.1)
    assert end.events() == [Reopen(0)]
    end = bound(linked=False)
    end.receive(w.bye(0))
    assert end.machine.wakes_at is None


def test_a_pair_that_is_over() -> None:
    for end in (connected(lasting=False, linked=False), bound(lasting=False, linked=False)):
        end.receive(w.bye(0))
        assert end.machine.over
        assert end.machine.wakes_at is None
        end.link(Link.DOWN)
        assert end.machine.over


def test_a_greeting_after_the_farewell() -> None:
    """A late word of the connection had us greet once more, and the peer answered while it closed."""
    end = connected()
    end.receive(w.bye(0))
    end.events()
    end.welcomed()
    assert not end.machine.paired
    assert not end.events()
    end.greeted(OTHER)
    assert end.machine.paired
