"""Pipelines as users see them, in both worlds, over every transport: results, order, errors, death, drain and limits."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import zpatterns
import zpatterns.asyncio
from zpatterns import (
    Closed,
    ConfigurationError,
    DeadLetter,
    Heartbeat,
    JobFailed,
    Limits,
    MessageTooLarge,
    NoSuchService,
    ReplyError,
    RequestContext,
    RequestTimeout,
    Status,
)

from .worlds import LIMIT, Awaiting, Blocking, fresh, until

QUICK = Heartbeat(interval=0.1, liveness=3)


class Job(BaseModel):
    a: int


class Result(BaseModel):
    b: int


class Face:
    """One world's pipelines, called from a test's thread."""

    def __init__(self, world: Blocking | Awaiting, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.blocking = world.name == "blocking"
        self._stack = ExitStack()
        self._thread_started = threading.Event()

    def pipeline(self, transport: str = "tcp", **options: Any) -> Any:
        kind = zpatterns.Pipeline if self.blocking else zpatterns.asyncio.Pipeline
        pipeline = kind(fresh(transport, self.folder), **options)
        return self.enter(pipeline)

    def enter(self, thing: Any) -> Any:
        if self.blocking:
            return self._stack.enter_context(thing)
        self._stack.callback(lambda: self.do(thing.close()))  # type: ignore[union-attr]
        return self.do(thing.__aenter__())

    def do(self, coroutine: Any) -> Any:
        assert isinstance(self.world, Awaiting)
        return self.world.do(coroutine)

    def on_loop(self, call: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return call()

        return call() if self.blocking else self.do(run())

    def worker(self, pipeline: Any) -> Any:
        return self.enter(self.on_loop(pipeline.worker))

    def close(self, thing: Any) -> None:
        if self.blocking:
            thing.close()
        else:
            self.do(thing.close())

    def map(self, pipeline: Any, jobs: Any, *stages: Any, **options: Any) -> list[Any]:
        return list(self.iterate(pipeline, jobs, *stages, **options))

    @contextmanager
    def iterating(self, *arguments: Any, **options: Any) -> Iterator[Iterator[Any]]:
        iterator = self.iterate(*arguments, **options)
        try:
            yield iterator
        finally:
            iterator.close()

    def iterate(self, pipeline: Any, jobs: Any, *stages: Any, **options: Any) -> Any:
        results = self.on_loop(lambda: pipeline.map(jobs, *stages, **options))
        return results if self.blocking else self._pull(results)

    def _pull(self, results: Any) -> Iterator[Any]:
        try:
            while True:
                try:
                    yield self.do(results.__anext__())
                except StopAsyncIteration:
                    return
        finally:
            self.do(results.aclose())

    def end(self) -> None:
        self._stack.close()


@pytest.fixture
def face(world: Blocking | Awaiting, tmp_path: Path) -> Iterator[Face]:
    made = Face(world, tmp_path)
    yield made
    made.end()


def doubling(pipeline: Any, **options: Any) -> Any:
    @pipeline.stage(**options)
    def double(job: Job) -> Result:
        return Result(b=2 * job.a)

    return double


def jobs(count: int) -> Iterator[Job]:
    return (Job(a=number) for number in range(count))


@pytest.mark.parametrize("transport", ["tcp", "ipc", "inproc"])
@pytest.mark.parametrize("inline", [True, False])
def test_results_come_in_order(face: Face, transport: str, inline: bool) -> None:
    pipeline = face.pipeline(transport)
    double = doubling(pipeline, concurrency=8, inline=inline)
    face.worker(pipeline)
    face.worker(pipeline)
    assert face.map(pipeline, jobs(500), double) == [Result(b=2 * number) for number in range(500)]
    until(lambda: pipeline.workers == 2)
    assert pipeline.statistics.done == 500


def test_coroutines_run_side_by_side() -> None:
    async def main() -> None:
        pipeline = zpatterns.asyncio.Pipeline("tcp://127.0.0.1:*")
        met = asyncio.Barrier(10)

        @pipeline.stage(concurrency=10)
        async def meet(job: int) -> int:
            await met.wait()
            return job

        async with pipeline, pipeline.worker():
            async with asyncio.timeout(LIMIT):
                assert [each async for each in pipeline.map(range(10), meet)] == list(range(10))

    asyncio.run(main())


def test_three_stages(face: Face) -> None:
    pipeline = face.pipeline()
    double = doubling(pipeline)

    @pipeline.stage(concurrency=4)
    def text(result: Result) -> str:
        return str(result.b)

    @pipeline.stage(inline=True)
    def size(text_: str) -> int:
        return len(text_)

    face.worker(pipeline)
    assert face.map(pipeline, jobs(60), double, text, size) == [len(str(2 * n)) for n in range(60)]


def test_unordered_results_come_as_they_are_ready(face: Face) -> None:
    pipeline = face.pipeline()
    go = threading.Event()

    @pipeline.stage(concurrency=2)
    def wait_for_the_other(job: int) -> int:
        if job == 0:
            assert go.wait(LIMIT)
        else:
            go.set()
        return job

    face.worker(pipeline)
    assert sorted(face.map(pipeline, [0, 1], wait_for_the_other, ordered=False)) == [0, 1]

    go.clear()
    with face.iterating(pipeline, [0, 1], wait_for_the_other, ordered=True) as results:
        assert list(results) == [0, 1]


def test_an_error_is_raised_in_its_place(face: Face) -> None:
    pipeline = face.pipeline()

    @pipeline.stage
    def check(job: int) -> int:
        if job == 3:
            raise ReplyError(Status.OUT_OF_RANGE, "three", details={"job": job})
        return job

    face.worker(pipeline)
    got: list[int] = []
    with pytest.raises(JobFailed) as caught:
        got.extend(face.iterate(pipeline, range(6), check))
    assert got == [0, 1, 2]
    error = caught.value
    assert (error.status, error.message, error.details) == (Status.OUT_OF_RANGE, "three", {"job": 3})
    assert (error.job, error.stage) == (3, "check")
    assert isinstance(error, ReplyError)

    mixed = face.map(pipeline, range(6), check, errors="yield")
    assert [each for each in mixed if isinstance(each, int)] == [0, 1, 2, 4, 5]
    assert isinstance(mixed[3], JobFailed)
    assert pipeline.dead_letters == []


def test_a_job_that_no_worker_ends_is_a_dead_letter(face: Face) -> None:
    pipeline = face.pipeline(limits=Limits(deliveries=2), heartbeat=QUICK)
    over = threading.Event()
    seen: list[int] = []

    @pipeline.stage(concurrency=4, timeout=0.2)
    def stuck(job: int, ctx: RequestContext) -> int:
        if job == 1:
            seen.append(ctx.attempt)
            assert over.wait(LIMIT)
        return job

    face.worker(pipeline)
    mixed = face.map(pipeline, range(3), stuck, errors="yield")
    over.set()
    assert (mixed[0], mixed[2]) == (0, 2)
    assert isinstance(mixed[1], DeadLetter)
    assert mixed[1].job == 1
    assert seen == [1, 2]
    assert pipeline.dead_letters == [mixed[1]]


def test_a_coroutine_is_cancelled_at_its_time() -> None:
    async def main() -> None:
        limits = Limits(deliveries=1)
        pipeline = zpatterns.asyncio.Pipeline("tcp://127.0.0.1:*", limits=limits, heartbeat=QUICK)
        cancelled = asyncio.Event()

        @pipeline.stage(timeout=0.1)
        async def hang(job: int) -> int:
            try:
                await asyncio.sleep(LIMIT * 2)
            except asyncio.CancelledError:
                cancelled.set()
                raise
            return job

        @pipeline.stage
        async def other(job: int) -> int:
            return job

        async with pipeline, pipeline.worker() as worker:
            async with asyncio.timeout(LIMIT):
                with pytest.raises(DeadLetter):
                    [each async for each in pipeline.map([1], hang)]
                await cancelled.wait()
                assert [each async for each in pipeline.map([1], other)] == [1]  # its place is free again
        assert worker.statistics.expired == 1

    asyncio.run(main())


def test_the_window_holds_the_producer_back(face: Face) -> None:
    pipeline = face.pipeline()
    double = doubling(pipeline, inline=True, concurrency=100)
    face.worker(pipeline)
    taken = []

    def producer() -> Iterator[Job]:
        for number in range(200):
            taken.append(number)
            yield Job(a=number)

    with face.iterating(pipeline, producer(), double, window=10) as results:
        for number in range(50):
            assert next(results) == Result(b=2 * number)
            assert len(taken) <= number + 1 + 10
    assert len(taken) < 70  # closed: nothing more is taken


def test_without_a_worker_it_ends(face: Face) -> None:
    pipeline = face.pipeline(timeout=0.3, heartbeat=QUICK)
    double = doubling(pipeline)
    with pytest.raises(NoSuchService, match="no worker serves stage 'double'"):
        face.map(pipeline, jobs(3), double)


def test_workers_may_come_later(face: Face) -> None:
    pipeline = face.pipeline(heartbeat=QUICK)
    double = doubling(pipeline)
    starter = threading.Timer(0.2, lambda: face.worker(pipeline))
    starter.start()
    assert len(face.map(pipeline, jobs(3), double)) == 3
    starter.join()


def test_waiting_for_workers(face: Face) -> None:
    pipeline = face.pipeline()
    double = doubling(pipeline)
    other = doubling(pipeline, name="other")

    def wait(*arguments: Any, **options: Any) -> Any:
        found = pipeline.wait_for_workers(*arguments, **options)
        return found if face.blocking else face.do(found)

    with pytest.raises(RequestTimeout, match="0 of 1 workers for stage 'double' within"):
        wait(double, timeout=0.05)
    for spent in (0, -1.0):
        with pytest.raises(RequestTimeout, match="within 0 s"):
            wait(double, timeout=spent)
    for wrong in (float("inf"), float("nan"), None):
        with pytest.raises(ConfigurationError, match="nothing waits for ever"):
            wait(timeout=wrong)
        with pytest.raises(ConfigurationError, match="nothing waits for ever"):
            face.pipeline(timeout=wrong)
    with pytest.raises(ConfigurationError):
        wait("double")
    first = face.worker(pipeline)
    assert wait(double, 1, LIMIT) == wait(other, timeout=LIMIT) == wait(timeout=1e10) == 1
    with ThreadPoolExecutor(2) as threads:
        found = threads.submit(wait, double, 2, LIMIT)
        with pytest.raises(RequestTimeout, match="1 of 2 workers within"):
            wait(count=2, timeout=0.05)
        face.worker(pipeline)
        assert found.result(LIMIT) == 2
        face.close(first)
        until(lambda: wait(count=0) == 1)
        found = threads.submit(wait, double, 2, LIMIT)
        until(found.running)
        face.close(pipeline)
        with pytest.raises(Closed):
            found.result(LIMIT)


def test_closing_ends_a_map(face: Face) -> None:
    pipeline = face.pipeline()
    double = doubling(pipeline)
    timer = threading.Timer(0.2, lambda: face.close(pipeline))
    timer.start()
    with pytest.raises(Closed):
        face.map(pipeline, jobs(3), double)
    timer.join()
    with pytest.raises(Closed):
        face.map(pipeline, jobs(3), double)
    face.close(pipeline)


def test_a_worker_that_stops_finishes_what_it_has(face: Face) -> None:
    pipeline = face.pipeline(heartbeat=QUICK)
    begun, go = threading.Semaphore(0), threading.Event()

    @pipeline.stage(concurrency=2)
    def wait(job: int) -> int:
        begun.release()
        assert go.wait(LIMIT)
        return job

    first = face.worker(pipeline)
    results = face.iterate(pipeline, range(6), wait)
    got: list[int] = []
    reader = threading.Thread(target=lambda: got.extend(results))
    reader.start()
    assert begun.acquire(timeout=LIMIT)
    assert begun.acquire(timeout=LIMIT)
    face.on_loop(first.stop)
    face.worker(pipeline)
    until(lambda: pipeline.workers >= 2)
    go.set()
    reader.join(LIMIT)
    assert got == list(range(6))
    assert pipeline.statistics.redelivered == 0
    assert first.statistics.answered >= 2


def test_stop_workers(face: Face) -> None:
    pipeline = face.pipeline()
    double = doubling(pipeline)
    worker = face.worker(pipeline)
    assert len(face.map(pipeline, jobs(3), double)) == 3
    face.on_loop(pipeline.stop_workers)
    if face.blocking:
        until(lambda: not worker._thread.is_alive())
    else:
        until(lambda: worker._stopping.ending is not None and worker._stopping.ending.done())


def test_workers_hear_that_they_are_dismissed_by_a_pipeline_that_closes_at_once(face: Face) -> None:
    pipeline = face.pipeline()
    doubling(pipeline)
    workers = [face.worker(pipeline) for _ in range(3)]
    until(lambda: pipeline.workers == 3)
    face.on_loop(pipeline.stop_workers)
    face.close(pipeline)
    for worker in workers:
        until(lambda worker=worker: worker._worker.machine.leaving)


PROGRAM = """
import sys
import zpatterns, zpatterns.asyncio

world = zpatterns if sys.argv[1] == "blocking" else zpatterns.asyncio
pipeline = world.Pipeline(sys.argv[2])

@pipeline.stage
def double(job: int) -> int:
    print("job", job, flush=True)
    return 2 * job

pipeline.run_worker()
print("ended", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, None])
def test_run_worker_ends_by_a_signal_or_when_there_is_no_more_work(face: Face, number: signal.Signals | None) -> None:
    pipeline = face.pipeline()

    @pipeline.stage
    def double(job: int) -> int:
        return 2 * job

    command = [sys.executable, "-c", PROGRAM, face.world.name, pipeline.endpoint]
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert face.map(pipeline, [1, 2], double) == [2, 4]
        if number is None:
            face.on_loop(pipeline.stop_workers)
        else:
            process.send_signal(number)
        assert process.stdout.read().split() == ["job", "1", "job", "2", "ended"]
        assert process.wait(LIMIT) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_large_jobs_travel_alone(face: Face) -> None:
    pipeline = face.pipeline()

    @pipeline.stage(concurrency=4)
    def echo(job: bytes) -> bytes:
        return job

    face.worker(pipeline)
    sizes = [0, 10, 8193, 100_000, 3, 300_000, 9000, 1]
    assert [len(each) for each in face.map(pipeline, [b"x" * size for size in sizes], echo)] == sizes


def test_what_is_not_of_the_type_is_an_error(face: Face) -> None:
    pipeline = face.pipeline(limits=Limits(message=100_000))
    double = doubling(pipeline)

    @pipeline.stage
    def swallow(job: bytes) -> int:
        return len(job)

    @pipeline.stage
    def wrong(job: Result) -> Job:
        return job  # type: ignore[return-value]

    face.worker(pipeline)
    with pytest.raises(TypeError):
        face.map(pipeline, ["no job"], double)
    with pytest.raises(MessageTooLarge):
        face.map(pipeline, [b"x" * 200_000], swallow)
    with pytest.raises(JobFailed, match="INTERNAL"):
        face.map(pipeline, jobs(1), double, wrong)

    def broken() -> Iterator[Job]:
        yield Job(a=1)
        raise RuntimeError("the producer")

    with pytest.raises(RuntimeError, match="the producer"):
        face.map(pipeline, broken(), double)
    assert len(face.map(pipeline, jobs(3), double)) == 3


def test_a_result_that_does_not_decode(face: Face) -> None:
    pipeline = face.pipeline()

    @pipeline.stage
    def number(job: int) -> list[str]:
        return [str(job)]

    face.worker(pipeline)
    number._handler.reply.encode = lambda value: (b"\xc1", ())
    try:
        with pytest.raises(JobFailed, match="does not decode"):
            face.map(pipeline, [1], number)
    finally:
        zpatterns.codec._cache.clear()


def test_mistakes_at_registration(face: Face) -> None:
    pipeline = face.pipeline()
    double = doubling(pipeline)
    other = (zpatterns.Pipeline if face.blocking else zpatterns.asyncio.Pipeline)("tcp://127.0.0.1:1")
    for options in ({"concurrency": 0}, {"timeout": 0.0}, {"name": "a b"}, {}):
        with pytest.raises(ConfigurationError):
            doubling(pipeline, **options)
    with pytest.raises(ConfigurationError, match="takes no job"):
        pipeline.stage(lambda: None)
    with pytest.raises(ConfigurationError, match="cannot be called"):
        pipeline.stage(7)
    for wrong in ({"window": 0}, {"errors": "ignore"}):
        with pytest.raises(ConfigurationError):
            face.on_loop(lambda wrong=wrong: pipeline.map([], double, **wrong))
    with pytest.raises(ConfigurationError, match="no stage of this pipeline"):
        face.on_loop(lambda: other.map([], double))
    with pytest.raises(ConfigurationError, match="at least one stage"):
        face.on_loop(lambda: other.map([]))
    with pytest.raises(ConfigurationError, match="has no stages"):
        face.worker(other)
    assert double(Job(a=2)) == Result(b=4)
    assert repr(double) == "<Stage 'double'>"


def test_a_blocking_pipeline_takes_no_coroutines() -> None:
    async def double(job: int) -> int:
        return 2 * job

    with pytest.raises(ConfigurationError, match=r"zpatterns\.asyncio"):
        zpatterns.Pipeline("tcp://127.0.0.1:*").stage(double)


def test_jobs_from_an_async_iterable() -> None:
    async def main() -> None:
        pipeline = zpatterns.asyncio.Pipeline("tcp://127.0.0.1:*")

        @pipeline.stage
        async def double(job: int) -> int:
            return 2 * job

        got: list[int] = []
        more = asyncio.Event()

        async def producer() -> Any:
            for number in range(20):
                if number == 10:
                    await more.wait()  # until all before have come back: nothing waits for the producer
                yield number

        async with pipeline, pipeline.worker(), asyncio.timeout(LIMIT):
            async for each in pipeline.map(producer(), double, window=3):
                got.append(each)
                if len(got) == 10:
                    more.set()
            assert got == [2 * number for number in range(20)]

            async def broken() -> Any:
                yield 1
                raise RuntimeError("the producer")

            with pytest.raises(RuntimeError, match="the producer"):
                [each async for each in pipeline.map(broken(), double)]

    asyncio.run(main())


@pytest.mark.parametrize("fed", [False, True])
def test_one_result_of_a_map_that_nobody_holds(fed: bool) -> None:
    async def main() -> None:
        pipeline = zpatterns.asyncio.Pipeline("tcp://127.0.0.1:*")

        @pipeline.stage
        async def double(job: int) -> int:
            await asyncio.sleep(0.01)
            return 2 * job

        async def producer() -> Any:
            for number in range(1000):
                yield number

        async with pipeline, pipeline.worker(), asyncio.timeout(LIMIT):
            assert await anext(pipeline.map(producer() if fed else range(1000), double, window=10)) == 0
            ventilator = pipeline._open()
            while ventilator.feeds or ventilator.machine.tasks:  # the rest is given up
                await asyncio.sleep(0.005)

    asyncio.run(main())


def test_close_ends_the_reading_of_jobs() -> None:
    """Nobody may ask for the next result again; the producer is not left waiting, and whoever does ask is told."""

    async def main() -> None:
        pipeline = zpatterns.asyncio.Pipeline("tcp://127.0.0.1:*")

        @pipeline.stage
        async def double(job: int) -> int:
            return 2 * job

        async def producer() -> Any:
            yield 1
            await asyncio.sleep(LIMIT)

        before = asyncio.all_tasks()
        async with asyncio.timeout(LIMIT):
            async with pipeline, pipeline.worker():
                results = pipeline.map(producer(), double)
                assert await anext(results) == 2
            while asyncio.all_tasks() != before:
                await asyncio.sleep(0.005)
        with pytest.raises(Closed):
            await anext(results)

    asyncio.run(main())


@pytest.mark.parametrize("rich", [True, False])
def test_progress(face: Face, rich: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if not rich:
        monkeypatch.setitem(sys.modules, "rich.console", None)
        monkeypatch.setattr("zpatterns._shell.progress._LINE_INTERVAL", 0.0)
    pipeline = face.pipeline()
    double = doubling(pipeline)

    @pipeline.stage
    def fail(job: Result) -> Result:
        raise ReplyError(Status.ABORTED)

    face.worker(pipeline)
    until(lambda: pipeline.workers == 1)
    face.map(pipeline, list(jobs(5)), double, fail, progress=True, errors="yield")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "double > fail" in captured.err
    if not rich:
        assert captured.err.splitlines()[-1].startswith("double > fail: 5 of 5 done, ")
        assert captured.err.endswith("0 under way, 1 worker, 5 failed\n")


def test_a_worker_that_stands_still_loses_its_jobs_and_comes_back(face: Face) -> None:
    """SIGSTOP for longer than the expiry: its job goes to the other; then it is told to say who it is."""
    pipeline = face.pipeline(heartbeat=QUICK)

    @pipeline.stage
    def double(job: int) -> int:
        return 2 * job

    command = [sys.executable, "-c", PROGRAM, face.world.name, pipeline.endpoint]
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL)
    try:
        assert face.map(pipeline, [1], double) == [2]
        process.send_signal(signal.SIGSTOP)
        until(lambda: pipeline.workers == 0)
        face.worker(pipeline)
        assert face.map(pipeline, range(10), double) == [2 * number for number in range(10)]
        process.send_signal(signal.SIGCONT)
        until(lambda: pipeline.workers == 2)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("inline", [False, True])
def test_a_worker_outlives_a_keyboard_interrupt_that_a_handler_raised(inline: bool) -> None:
    pipeline = zpatterns.Pipeline("tcp://127.0.0.1:*", timeout=LIMIT)

    @pipeline.stage(inline=inline)
    def fail(job: int) -> int:
        raise KeyboardInterrupt

    with pipeline, pipeline.worker():
        results = list(pipeline.map(range(3), fail, errors="yield"))
        assert [type(each) for each in results] == [JobFailed] * 3


def test_close_of_a_worker_within_a_handler_does_not_wait_for_it() -> None:
    pipeline = zpatterns.Pipeline("tcp://127.0.0.1:*", timeout=LIMIT)

    @pipeline.stage
    def last(job: int) -> int:
        began = time.monotonic()
        worker.close()
        return int(time.monotonic() - began)

    with pipeline, pipeline.worker() as worker:
        assert list(pipeline.map([1], last)) == [0]


def test_two_maps_at_once_from_two_threads(face: Face) -> None:
    pipeline = face.pipeline()
    double = doubling(pipeline, concurrency=4)
    face.worker(pipeline)
    got: dict[int, list[Any]] = {}

    def run(number: int) -> None:
        got[number] = face.map(pipeline, jobs(100), double)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert all(results == [Result(b=2 * n) for n in range(100)] for results in got.values())
    assert len(got) == 4


def test_garbage_is_counted() -> None:
    import zmq

    with zpatterns.Pipeline("tcp://127.0.0.1:*") as pipeline, zmq.Context() as context:
        double = doubling(pipeline)
        with context.socket(zmq.DEALER) as socket:
            socket.linger = 0
            socket.connect(pipeline.endpoint)
            for message in ([b"x"], [b"\xc1zp\x01\x91\x21", b""], [b"\xc1zp\x01\xc1", b""], [b""] * 3):
                socket.send_multipart(message)
            until(lambda: pipeline.statistics.undecodable == 3)
            with pipeline.worker():
                assert len(list(pipeline.map(jobs(3), double))) == 3
