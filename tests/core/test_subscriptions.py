"""Which reader gets what."""

from __future__ import annotations

from zpatterns.core.intake import Intake
from zpatterns.core.subscriptions import Subscription, Subscriptions
from zpatterns.policy import Overflow


def intake(*, main=True):
    return Intake(10, Overflow.DROP_OLDEST, None, main=main)


class Wanted:
    def __init__(self):
        self.changes = []
        self.all = Subscriptions(lambda prefix, yes: self.changes.append((prefix, yes)))

    def topic(self, queue, prefix, name="topic"):
        made = Subscription(prefix, queue, matches=lambda topic: topic.startswith(prefix), application=name)
        self.all.add(made)
        return made

    def raw(self, queue, prefix):
        made = Subscription(prefix, queue)
        self.all.add(made)
        return made

    def to(self, topic):
        return [(route.intake, route.application) for route in self.all.routes(topic)]


def test_libzmq_is_asked_once_for_each_prefix():
    wanted, queue = Wanted(), intake()
    one, other = wanted.topic(queue, b"a"), wanted.topic(queue, b"a")
    assert wanted.all.prefixes() == [b"a"]
    wanted.all.remove(one)
    wanted.all.remove(one)
    assert wanted.changes == [(b"a", True)]
    wanted.all.remove(other)
    assert wanted.changes == [(b"a", True), (b"a", False)]
    assert wanted.all.number == 2


def test_each_reader_gets_a_message_once_and_typed_if_it_can():
    wanted, queue, other = Wanted(), intake(), intake()
    wanted.raw(queue, b"")
    wanted.topic(queue, b"a", "first")
    wanted.topic(queue, b"a", "second")
    wanted.raw(other, b"a")
    wanted.raw(other, b"")
    assert wanted.to(b"a\0") == [(queue, "first"), (other, None)]
    assert wanted.to(b"b\0") == [(queue, None), (other, None)]
    assert len(wanted.all.find(queue)) == 3


def test_what_is_streamed_is_not_read_by_plain_iteration():
    wanted, main, stream, second = Wanted(), intake(), intake(main=False), intake(main=False)
    wanted.topic(main, b"a", "main")
    wanted.topic(stream, b"ab", "stream")
    wanted.topic(second, b"ab", "second")
    assert wanted.to(b"ab\0") == [(stream, "stream"), (second, "second")]
    assert wanted.to(b"ac\0") == [(main, "main")]
    assert wanted.to(b"x\0") == []


def test_a_topic_is_asked_for_since_the_first_subscription_that_takes_it():
    wanted, main, stream = Wanted(), intake(), intake(main=False)
    wanted.topic(main, b"x")
    first = wanted.topic(main, b"a")
    wanted.raw(main, b"ab")
    wanted.topic(stream, b"abc")
    assert wanted.all.since(b"abc\0") == 2  # though only the stream gets it
    wanted.all.remove(first)
    assert wanted.all.since(b"abc\0") == 3
    assert wanted.all.since(b"b\0") == float("inf")


def test_plain_messages_go_by_how_they_begin():
    wanted, main, other = Wanted(), intake(), intake()
    wanted.raw(main, b"sub")
    wanted.raw(main, b"su")
    wanted.topic(other, b"sub")
    assert wanted.all.plain(b"sub 1 hello") == [main]
    assert wanted.all.plain(b"else") == []
