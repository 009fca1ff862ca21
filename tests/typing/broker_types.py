"""What a Broker, its workers and its clients are to mypy and pyright. Checked, not run."""

from __future__ import annotations

from typing import assert_type

import zpatterns
import zpatterns.asyncio
from zpatterns import Method, ReplyServer, RequestClient

ADD = Method("calc.add", int, str)


def blocking(broker: zpatterns.Broker) -> None:
    assert_type(broker.frontend, str)
    worker = ReplyServer.worker([broker.backend], name="calc", credit=4)
    assert_type(worker, ReplyServer)
    worker.include(ReplyServer("inproc://other"))
    client = RequestClient(broker.frontend, service="calc")
    assert_type(client.request(ADD, 1), str)
    with broker as entered:
        assert_type(entered, zpatterns.Broker)
    assert_type(broker.services()[0].workers[0].credit, int)
    for letter in broker.dead_letters():
        assert_type(letter.service, bytes)
        assert_type(broker.replay(letter), bool)
    zpatterns.Broker("tcp://127.0.0.1:1", balance="fair")  # type: ignore[arg-type]
    zpatterns.Broker("tcp://127.0.0.1:1", dialect="gaterpc")  # type: ignore[arg-type]


async def awaiting(broker: zpatterns.asyncio.Broker) -> None:
    worker = zpatterns.asyncio.ReplyServer.worker(broker.backend, name="calc")
    assert_type(worker, zpatterns.asyncio.ReplyServer)
    async with broker as entered, zpatterns.asyncio.RequestClient(broker.frontend, service="calc") as client:
        assert_type(entered, zpatterns.asyncio.Broker)
        assert_type(await client.request(ADD, 1), str)
    await broker.close()
