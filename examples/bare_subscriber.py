"""Reads bare PUBs in any language by prefix: ``python bare_subscriber.py ENDPOINT...``, beside bare_publisher.py or raw_pub.py.

It ends when each of its publishers has said END. A publisher may come before it or after it.
"""

import sys

from zpatterns import Subscriber

ended = 0
with Subscriber(sys.argv[1:], b"sub 1") as subscriber:
    for message in subscriber:
        print(message.topic, flush=True)  # of one frame, the text is all there is
        ended += "END" in message.topic
        if ended == len(sys.argv) - 1:
            break
