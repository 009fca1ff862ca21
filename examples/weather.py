"""Weather by station, typed: ``python weather.py``. A placeholder in the topic is the filter; handlers take what comes.

A typed topic ends where it ends: ``weather.10115`` is not ``weather.101150``.
"""

import asyncio
import random

from pydantic import BaseModel

from zpatterns import Message, Topic
from zpatterns.asyncio import Publisher, Subscriber


class Weather(BaseModel):
    celsius: float
    humidity: int


WEATHER = Topic("weather.{code}", Weather)
ALARM = Topic("alarm.{code}", str)
seen: dict[str, list[float]] = {}


async def report(publisher: Publisher) -> None:
    dice = random.Random(1)
    for _ in range(100):
        for code in ("10115", "101150", "20095"):
            weather = Weather(celsius=dice.uniform(-10, 35), humidity=dice.randrange(10, 60))
            await publisher.publish(WEATHER.at(code=code), weather)
    await publisher.publish(ALARM.at(code="10115"), "storm")


async def main() -> None:
    async with Publisher("tcp://127.0.0.1:*") as publisher, Subscriber(publisher.endpoint) as subscriber:

        @subscriber.on(WEATHER.at(code="10115"))
        @subscriber.on(WEATHER.at(code="20095"))
        async def weather(message: Message[Weather]) -> None:
            seen.setdefault(message.topic, []).append(message.body.celsius)

        @subscriber.on(ALARM)
        def alarm(message: Message[str]) -> None:
            print(f"{message.topic}: {message.body}")
            subscriber.stop()

        await subscriber.ready(timeout=5.0)
        await asyncio.gather(subscriber.serve(), report(publisher))
    for topic, values in sorted(seen.items()):
        print(f"{topic}: {len(values)} updates, mean between -10 and 35: {-10 < sum(values) / len(values) < 35}")


asyncio.run(main())
