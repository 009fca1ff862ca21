"""A subscriber in a process of its own, to be stopped and stalled: it accounts for every message, then says what it came to.

``python -m tests.stopped_subscriber ENDPOINT bind|connect STALL``: STALL seconds into its work the reader sleeps, GIL and all.
"""

from __future__ import annotations

import json
import sys
import time
from resource import RUSAGE_SELF, getrusage

from tests.pubsub_worlds import NOTE
from zpatterns import Limits, RequestTimeout, Subscriber

IDLE = 60.0
"""Seconds without a message after which something is wrong; those in which it is stopped count."""


def main() -> None:
    endpoint, way, stall = sys.argv[1], sys.argv[2], float(sys.argv[3])
    given = missed = 0
    sequence = 0
    with Subscriber(endpoint, NOTE, bind=way == "bind", limits=Limits(backlog=1000)) as subscriber:
        print(json.dumps({"endpoint": subscriber.endpoint}), flush=True)
        subscriber.ready(30.0)
        print(json.dumps({"ready": True}), flush=True)
        before = getrusage(RUSAGE_SELF).ru_maxrss
        ended = False
        while not ended:
            try:
                message = subscriber.receive(IDLE)
            except RequestTimeout:
                break
            given += 1
            missed += message.missed
            sequence = message.sequence
            ended = message.body.text.startswith("END")
            if stall and given == 100:
                time.sleep(stall)
        grown = getrusage(RUSAGE_SELF).ru_maxrss - before
        counts = subscriber.statistics
    print(
        json.dumps(
            {
                "given": given,
                "missed": missed,
                "sequence": sequence,
                "ended": ended,
                "grown_kb": grown,
                "lost": counts.lost,
                "overflowed": counts.overflowed,
            }
        ),
        flush=True,
    )


main()
