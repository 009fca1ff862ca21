"""Publishers that lie to a subscriber: what is remembered of them is bounded."""

from __future__ import annotations

from zpatterns.core.intake import Intake
from zpatterns.core.subscriber import Subscriber
from zpatterns.core.subscriptions import Subscription
from zpatterns.policy import Overflow
from zpatterns.wire import published as pub


def test_topics_and_tables_that_are_too_long_are_not_remembered() -> None:
    machine = Subscriber(1, nonce=lambda: b"n" * 16)
    machine.open(intake := Intake(10, Overflow.DROP_OLDEST, None))
    machine.subscribe(Subscription(b"lab.", intake, matches=lambda topic: topic.endswith(b"\0"), application=1), 0.0)
    header = pub.record(pub.head(1, 0, b"12345678"), 1, 1, 0)
    for topic in (b"lab." + b"x" * 300, b"lab." + b"x" * 300 + b"\0"):
        machine.receive(0, (topic, header + b"\x01"), 0.0)
        machine.receive(0, (pub.HEARTBEAT_TOPIC, header + pub.table([(topic, 1)], complete=False)), 0.0)
    beyond = pub.table([(b"lab.x\0", 2**63)], complete=False)
    machine.receive(0, (pub.HEARTBEAT_TOPIC, header + beyond), 0.0)
    assert machine.statistics.undecodable == 5
    assert not machine._unwanted
    assert not machine._ledger.lines()
