"""Greetings to any SUB in any language: ``python bare_publisher.py NAME [ENDPOINT]``, beside bare_subscriber.py or raw_sub.py.

One frame, ``sub 1 hello``: a SUB that subscribes to ``sub 1`` gets it. It waits for one subscriber, then says END.
"""

import sys

from zpatterns import Publisher

name, endpoint = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "tcp://127.0.0.1:5560"
with Publisher(endpoint) as publisher:
    print(f"publishing at {publisher.endpoint}", flush=True)
    publisher.wait_for_subscribers(b"sub 1", count=1, timeout=60.0)
    for number in range(5):
        publisher.publish_plain(b"sub 2 not for you %d" % number)
        publisher.publish_plain(b"sub 1 hello %d from %s" % (number, name.encode()))
    publisher.publish_plain(b"sub 1 END of %s" % name.encode())
