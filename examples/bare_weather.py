"""Weather by post code, as text: ``python bare_weather.py``. Any SUB could read it; this one wants 10115 alone.

libzmq filters by how a message begins, at the publisher: what nobody wants does not leave it.
"""

import random
import threading

from zpatterns import Publisher, Subscriber

enough = threading.Event()


def report(publisher: Publisher) -> None:
    publisher.wait_for_subscribers(b"10115", count=1, timeout=10.0)
    dice = random.Random(1)
    while not enough.wait(0.001):
        for code in range(10110, 10120):
            publisher.publish_plain(b"%d %d %d" % (code, dice.randrange(-10, 35), dice.randrange(10, 60)))


with Publisher("tcp://127.0.0.1:*") as publisher, Subscriber(publisher.endpoint, b"10115 ") as subscriber:
    reporter = threading.Thread(target=report, args=(publisher,))
    reporter.start()
    temperatures: list[int] = []
    for message in subscriber:
        code, celsius, _ = message.topic.split()
        assert code == "10115"
        temperatures.append(int(celsius))
        if len(temperatures) == 100:
            break
    enough.set()
    reporter.join()
print(f"the mean of {len(temperatures)} updates is between -10 and 35: {-10 < sum(temperatures) / 100 < 35}")
