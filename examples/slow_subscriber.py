"""A reader that is too slow loses messages, knows how many, and holds up nobody: ``python slow_subscriber.py``."""

from time import monotonic, sleep

from zpatterns import Gap, Limits, Overflow, Publisher, Subscriber, Topic

PRICE = Topic("price.{symbol}", float)
FEW = Limits(backlog=100)
gaps: list[Gap] = []

with (
    Publisher("tcp://127.0.0.1:*") as publisher,
    Subscriber(publisher.endpoint, PRICE.at(symbol="xyz"), limits=FEW, on_gap=gaps.append) as newest,
    Subscriber(publisher.endpoint, PRICE, overflow=Overflow.LATEST) as latest,
):
    for subscriber in (newest, latest):
        subscriber.ready(timeout=5.0)
    for start in range(0, 10_000, 100):
        for symbol in ("abc", "xyz"):
            publisher.publish_many(PRICE.at(symbol=symbol), [float(price) for price in range(start, start + 100)])
    until = monotonic() + 10.0
    while newest.statistics.received + latest.statistics.received < 30_000 and monotonic() < until:
        sleep(0.01)  # both were busy all the time

    read = [newest.receive(timeout=5.0) for _ in range(100)]
    missed = sum(message.missed for message in read)
    while sum(gap.missed for gap in gaps) < missed and monotonic() < until:
        sleep(0.01)  # the hook is called on the subscriber's own thread
    print(f"the newest 100: {missed} missed before them, {sum(gap.missed for gap in gaps)} by the hook")
    for message in (latest.receive(timeout=5.0), latest.receive(timeout=5.0)):
        print(f"the latest of {message.topic}: {message.body}, after {message.missed} that nobody had to read")
