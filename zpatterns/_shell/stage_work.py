"""``HandlerWork`` for the jobs of a pipeline: those of one message are decoded at once, where all of them are right."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

from ..codec import Codec
from ..core.jobs import Asked
from ..core.stage_jobs import StageJob
from ..drive.replying import Answer, Failure
from ..errors import Status
from ..policy import Limits
from ..wire.jobs import ALONE
from .answering import encoded, failure_of
from .arrays import Array
from .awork import AsyncHandlerWork
from .binding import Handler
from .context import RequestContext
from .work import is_interrupt

_NONE: list[Any] = []


class StageHandlerWork(AsyncHandlerWork):
    """``arrays``: by stage, how its jobs are decoded."""

    def __init__(self, mapping: Mapping[type[Exception], Status], limits: Limits, arrays: Mapping[str, Array]) -> None:
        super().__init__(mapping, limits)
        self._arrays = arrays

    def answers(self, jobs: list[StageJob]) -> Iterator[tuple[StageJob, Answer | list[bytes] | Failure]]:
        """Run a ``def`` for each of these, which are of one stage."""
        handler: Handler = jobs[0].rule.application
        function, codec, limits = handler.function, handler.reply, self.limits
        for job in jobs:
            values = self._opened(job)
            if not values or handler.takes_context:
                yield job, self.answer(job)
                continue
            try:
                answer: Answer | Failure = encoded(codec, function(values[job.index]), limits)
            except BaseException as error:  # sys.exit() in a handler must not end the worker
                if is_interrupt(error):
                    raise
                answer = failure_of(error, handler, self.mapping)
            yield job, answer

    def coroutines(
        self, jobs: list[StageJob], failed: Callable[[StageJob, Any], None]
    ) -> Iterator[tuple[StageJob, Coroutine[Any, Any, Any]]]:
        """The coroutine of an ``async def`` for each of these, which are of one stage; ``failed`` hears why there is none."""
        handler: Handler = jobs[0].rule.application
        function, takes_context = handler.function, handler.takes_context
        parcel, values = None, _NONE
        for job in jobs:
            if job.parcel is not parcel:
                parcel, values = job.parcel, self._opened(job)
            if values:
                value = values[job.index]
                try:
                    coroutine = function(value, RequestContext(job)) if takes_context else function(value)
                except Exception as error:  # noqa: BLE001  every exception becomes an answer
                    failed(job, failure_of(error, handler, self.mapping))
                else:
                    yield job, coroutine
            else:
                begun = self.begin(job)
                if type(begun) is tuple:
                    failed(job, begun)
                else:
                    yield job, begun  # type: ignore[misc]

    def result(self, job: Asked, value: Any, error: BaseException | None) -> Answer | list[bytes] | Failure:
        """The answer, from what the coroutine returned or raised."""
        if error is None:
            codec: Codec[Any] = job.rule.application.reply
            try:
                payload, buffers = codec.encode(value)
            except Exception as wrong:  # noqa: BLE001
                return super().result(job, value, wrong)
            if not buffers and len(payload) <= ALONE:
                return codec.wire_id, payload, buffers
        return super().result(job, value, error)

    def _opened(self, job: StageJob) -> list[Any]:
        """The jobs of the message that brought this one; none where each is to be decoded for itself."""
        parcel = job.parcel
        values: list[Any] | None = parcel.values
        if values is None:
            if parcel.count > 1:
                values = self._arrays[job.method].decode(parcel.header.codec, parcel.count, parcel.payload)
            parcel.values = values = values or _NONE
        return values
