"""The same with types: ``python typed_greetings.py publisher NAME ENDPOINT`` (two of them), ``... subscriber ENDPOINT...``.

The topic says what comes: no prefix in the text, and an END that is a field and not a word.
"""

import sys

from pydantic import BaseModel

from zpatterns import Publisher, Subscriber, Topic


class Greeting(BaseModel):
    text: str
    end: bool = False


GREETING = Topic("greeting.{group}", Greeting)
ONE, TWO = GREETING.at(group="1"), GREETING.at(group="2")


def publish(name: str, endpoint: str) -> None:
    with Publisher(endpoint) as publisher:
        print(f"publishing at {publisher.endpoint}", flush=True)
        publisher.wait_for_subscribers(ONE, count=1, timeout=60.0)
        for number in range(5):
            publisher.publish(TWO, Greeting(text=f"not for you {number}"))
            publisher.publish(ONE, Greeting(text=f"hello {number} from {name}"))
        publisher.publish(ONE, Greeting(text=f"END of {name}", end=True))


def subscribe(*endpoints: str) -> None:
    ended = missed = 0
    with Subscriber(endpoints, ONE) as subscriber:
        for message in subscriber:
            print(message.body.text, flush=True)
            missed += message.missed
            ended += message.body.end
            if ended == len(endpoints):
                break
    print(f"missed: {missed}", flush=True)


if __name__ == "__main__":
    role, *rest = sys.argv[1:]
    if role == "publisher":
        publish(*rest)
    else:
        subscribe(*rest)
