"""Hello to a bare REP: ``python bare_hello_client.py [ENDPOINT]``, beside ``python plain_peers/raw_rep.py``.

The other end may be any ZeroMQ program in any language, or bare_hello_server.py. Ten rounds in strict alternation: the
next Hello leaves when the last World is here. Without a server, or when the server dies,
it ends by itself and says why, where a bare REQ waits for ever.
"""

import sys

from zpatterns import RequestClient, ZPatternsError

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5555"

with RequestClient(endpoint, timeout=5.0) as client:
    for number in range(10):
        try:
            [reply] = client.request_plain(b"Hello %d" % number)
        except ZPatternsError as error:
            sys.exit(f"{type(error).__name__}: {error}")
        print(f"Hello {number} -> {reply.decode()}", flush=True)
