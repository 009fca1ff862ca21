"""A server for bare DEALERs: ``python bare_router_server.py [ENDPOINT]``, with plain_peers/raw_dealer.py.

Answers [address] ["Hello"] [what came], where the address is ours to put back and never the handler's business.
"""

import sys

from zpatterns import ReplyServer

server = ReplyServer(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5556", name="router")


@server.plain(inline=True)
def hello(frames: list[bytes]) -> list[bytes]:
    return [b"Hello", *frames]


print(f"serving at {server.endpoint}", flush=True)
server.run()
