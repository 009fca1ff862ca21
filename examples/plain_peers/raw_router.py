"""A bare ROUTER, pyzmq alone: ``python raw_router.py [ENDPOINT]`` answers [address] ["Hello"] [what came], until Ctrl-C."""

import sys

import zmq

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5556"

with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
    socket.bind(endpoint)
    print(f"ROUTER at {endpoint}", flush=True)
    while True:
        address, *came = socket.recv_multipart()
        socket.send_multipart([address, b"Hello", *came])
        print(f"{address.hex()} says {came}", flush=True)
