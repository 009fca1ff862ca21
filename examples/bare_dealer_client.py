"""A client without any envelope, as a DEALER: ``python bare_dealer_client.py [ENDPOINT]``, with plain_peers/raw_router.py.

``envelope="none"`` sends just these frames. Nothing in them could tell one reply from another, so one request is under
way at a time; with the default, ``envelope="id"``, a REP and a ROUTER that gives the envelope back serve many at once.
"""

import sys

from zpatterns import RequestClient

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5556"

with RequestClient(endpoint, timeout=5.0) as client:
    for number in range(10):
        print(client.request_plain([b"message %d" % number], envelope="none"), flush=True)
