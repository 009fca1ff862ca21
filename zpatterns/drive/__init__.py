"""The only room that imports zmq. It owns sockets, the clock, threads and event loops; the rules are in core."""
