"""A thread and an event loop, joined by a pair: ``python thread_and_loop.py``. One end of each world, typed both ways.

The queues between hold 20 messages each, so whoever is faster waits for the other, and neither hangs.
"""

import asyncio
import threading

import zpatterns
from zpatterns import SocketOptions
from zpatterns.asyncio import Pair

FEW = SocketOptions(high_water_mark=20)


async def square() -> None:
    async with Pair.connect("inproc://squares", send=int, receive=int, options=FEW) as pair:
        async for number in pair:
            await pair.send(number * number)


def feed(pair: zpatterns.Pair[int, int]) -> None:
    for number in range(1000):
        pair.send(number)


loop = threading.Thread(target=lambda: asyncio.run(square()))
loop.start()
with zpatterns.Pair.bind("inproc://squares", send=int, receive=int, options=FEW) as pair:
    feeder = threading.Thread(target=feed, args=(pair,))
    feeder.start()
    total = sum(pair.receive() for _ in range(1000))
    print(f"squares of 0 to 999, from a loop in another thread: {total}", flush=True)
    feeder.join()
loop.join()
print(f"both have ended: {not loop.is_alive()}", flush=True)
