"""The index, made by a pipeline of worker processes, one of which is killed at work; their progress is drawn as it comes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from contracts import DONE, File, FileDone, Indexed
from indexer import index_files, pipeline
from processes import PATIENCE, Process
from screen import Screen

from zpatterns import PeerUnavailable, RequestTimeout, Subscriber

WORKERS, BATCHES = 4, 80


@dataclass
class Build:
    """The count of it."""

    files: list[File]
    index: list[Indexed] = field(default_factory=list[Indexed])
    killed: int = 0
    redelivered: int = 0
    reported: set[str] = field(default_factory=set[str])
    """Modules that some worker has said to be done."""
    heard: Counter[str] = field(default_factory=Counter[str])
    """Progress messages, by topic: each worker has its own."""
    missed: int = 0
    """Progress messages that were published and did not come."""
    wrong: int | None = None
    """Files whose definitions are not those of the compiler's own table; None until they have been compared."""

    @property
    def lost(self) -> int:
        """Files that are not in the index exactly once."""
        times = Counter(indexed.file for indexed in self.index)
        return sum(times[file] != 1 for file in self.files) + len(set(times) - set(self.files))

    @property
    def definitions(self) -> int:
        return sum(len(indexed.definitions) for indexed in self.index)


def build(count: Build, screen: Screen) -> None:
    with pipeline, Subscriber("tcp://127.0.0.1:*", DONE, bind=True) as subscriber, ExitStack() as stack:
        workers = [
            stack.enter_context(Process("indexer.py", pipeline.endpoint, subscriber.endpoint)) for _ in range(WORKERS)
        ]
        await_workers(subscriber, workers)
        screen.event(f"{WORKERS} worker processes are there, and their progress will be heard")
        watcher = threading.Thread(target=watch, args=(subscriber, count, screen), daemon=True)
        watcher.start()
        jobs = list(batches(count.files))
        for indexed in pipeline.map(jobs, index_files, window=len(jobs), ordered=False):
            count.index += indexed
            count.redelivered = pipeline.statistics.redelivered
            if not count.killed and len(count.index) > len(count.files) / 3:
                count.killed = 1
                workers[0].kill()
                screen.event(f"worker {workers[0].number} killed (kill -9) at work", bad=True)
        watcher.join(1.0)
        screen.event(f"all indexed; {count.redelivered} jobs went to another worker")
        pipeline.stop_workers()
        for worker in workers:
            worker.wait()


def await_workers(subscriber: Subscriber[FileDone], workers: list[Process]) -> None:
    """Until each can be heard, whatever it publishes first."""
    limit_at = perf_counter() + PATIENCE
    while True:
        try:
            subscriber.ready(0.2, publishers=len(workers))
        except (RequestTimeout, PeerUnavailable):
            for worker in workers:
                worker.check()
            if perf_counter() > limit_at:
                raise
        else:
            return


def watch(subscriber: Subscriber[FileDone], count: Build, screen: Screen) -> None:
    for message in subscriber:
        count.heard[message.topic] += 1
        count.missed += message.missed
        count.reported.add(message.body.module)
        screen.progress(len(count.reported), len(count.files), f"files indexed by {WORKERS} workers")
        if len(count.reported) == len(count.files):
            return


def batches(files: list[File]) -> Iterator[list[File]]:
    """Jobs of about the same size: large enough to be worth the way, small enough to be done again."""
    sizes = [Path(file.path).stat().st_size for file in files]
    batch: list[File] = []
    enough = sum(sizes) / BATCHES
    size = 0
    for file, more in zip(files, sizes, strict=True):
        batch.append(file)
        size += more
        if size >= enough:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
