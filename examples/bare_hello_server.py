"""World to a bare REQ: ``python bare_hello_server.py [ENDPOINT]``, beside ``python plain_peers/raw_req.py``.

Serves any number of REQ sockets, in any language, and bare_hello_client.py, until Ctrl-C.
"""

import sys
from itertools import count

from zpatterns import ReplyServer

server = ReplyServer(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5555", name="hello")
numbers = count()


@server.plain(inline=True)
def world(frames: list[bytes]) -> list[bytes]:
    reply = b"World %d" % next(numbers)
    print(f"{frames[0].decode()} -> {reply.decode()}", flush=True)
    return [reply]


print(f"serving at {server.endpoint}", flush=True)
server.run()
