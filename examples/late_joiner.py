"""Who joins late gets what is published from then on, all of it, and knows what was before: ``python late_joiner.py``.

With bare PUB and SUB a program sleeps here and hopes. ``ready()`` returns when the publisher has the subscription.
"""

from zpatterns import Publisher, Subscriber, Topic

TICK = Topic("tick", int)

with Publisher("tcp://127.0.0.1:*") as publisher:
    first_messages: list[int] = []
    for number in range(100):
        with Subscriber(publisher.endpoint, TICK) as joiner:
            joiner.ready(timeout=5.0)
            publisher.publish(TICK, number)
            first_messages.append(joiner.receive(timeout=5.0).body)
    print(f"first messages lost by 100 late joiners: {100 - len(set(first_messages))}")

    publisher.publish_many(TICK, range(100, 1000))
    with Subscriber(publisher.endpoint, TICK) as joiner:
        joiner.ready(timeout=5.0)
        publisher.publish(TICK, 1000)
        message = joiner.receive(timeout=5.0)
        print(f"the last one's first message is number {message.sequence}: {message.sequence - 1} were before it")
        print(f"missed since it was ready: {message.missed}")

    with Subscriber(publisher.endpoint, b"bare") as bare:  # and a bare message: the publisher waits instead
        publisher.wait_for_subscribers(b"bare", count=1, timeout=5.0)
        publisher.publish_plain([b"bare", b"hello"])
        print(f"bare: {bare.receive(timeout=5.0).body}")
