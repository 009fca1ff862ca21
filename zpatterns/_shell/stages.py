"""The stages of a pipeline: functions understood once, at registration, and what a stage knows of its two types."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from ..codec import Codec
from ..contract import check_name
from ..core.jobs import Rule
from ..errors import ConfigurationError
from ..policy import DEFAULT_JOB_TIMEOUT
from ..wire.jobs import CREDIT_MAX, STAGES_MAX
from .arrays import Array
from .binding import Handler, bind
from .guards import check_made

T = TypeVar("T")
U = TypeVar("U")


class Stage(Generic[T, U]):
    """One step of a pipeline: takes a ``T``, gives a ``U``. Made by ``@pipeline.stage``; give it to ``pipeline.map``."""

    def __init__(self, handler: Handler, concurrency: int = 1, timeout: float = DEFAULT_JOB_TIMEOUT, /) -> None:
        check_made(handler, Handler, "@pipeline.stage, on the function that does its work")
        assert handler.name is not None
        self.name: str = handler.name
        self.concurrency: int = concurrency
        """Jobs of it that a worker holds at once."""
        self.timeout: float = timeout
        """Seconds after which a job is given to another worker."""
        self._handler = handler
        self._jobs: Array = Array(handler.request_type, self.job_codec)
        self._results: Array = Array(handler.reply_type, self.result_codec)
        self.__doc__ = handler.function.__doc__
        self.__wrapped__: Callable[..., Any] = handler.function

    @property
    def job_codec(self) -> Codec[T]:
        """Of what it takes."""
        codec: Codec[Any] | None = self._handler.request
        assert codec is not None
        return codec

    @property
    def result_codec(self) -> Codec[U]:
        """Of what it gives."""
        codec: Codec[Any] | None = self._handler.reply
        assert codec is not None
        return codec

    def __repr__(self) -> str:
        return f"<Stage {self.name!r}>"


class DefStage(Stage[T, U]):
    """A stage that is a plain function; calling it runs that function here, as a test does."""

    def __call__(self, job: T, /) -> U:
        result: U = self._handler.function(job)
        return result


class AsyncStage(Stage[T, U]):
    """A stage that is ``async def``; calling it gives that function's coroutine."""

    def __call__(self, job: T, /) -> Coroutine[Any, Any, U]:
        result: Coroutine[Any, Any, U] = self._handler.function(job)
        return result


class Stages:
    """The stages of one pipeline, by name."""

    def __init__(self, *, takes_async: bool) -> None:
        self.by_name: dict[str, Stage[Any, Any]] = {}
        self._takes_async = takes_async

    def add(
        self,
        function: Callable[..., Any],
        *,
        name: str | None,
        concurrency: int,
        inline: bool,
        timeout: float | None,
    ) -> Stage[Any, Any]:
        """Understand a function as a stage; raises ConfigurationError for what cannot work."""
        if not callable(function):
            raise ConfigurationError(f"{function!r} cannot be called, so it is no stage")
        name = check_name(name if name is not None else getattr(function, "__name__", None))
        if name in self.by_name:
            raise ConfigurationError(f"there is a stage {name!r} already: give one of them another name=")
        if len(self.by_name) >= STAGES_MAX:
            raise ConfigurationError(f"a pipeline has at most {STAGES_MAX} stages")
        if not 1 <= concurrency <= CREDIT_MAX:
            raise ConfigurationError(f"concurrency={concurrency}: must be 1 to {CREDIT_MAX}")
        seconds = DEFAULT_JOB_TIMEOUT if timeout is None else timeout
        if not 0.0 < seconds <= 1e9:
            raise ConfigurationError(f"timeout={timeout!r}: must be seconds greater than 0; no job runs for ever")
        handler = bind(function, name=name, inline=inline)
        if handler.is_async and not self._takes_async:
            raise ConfigurationError(
                f"{name} is async def, which this blocking pipeline cannot run: write it as def, or use "
                "zpatterns.asyncio.Pipeline"
            )
        if not handler.takes_body:
            raise ConfigurationError(f"{name} takes no job: a stage is a function of one job")
        stage: Stage[Any, Any]
        stage = (AsyncStage[Any, Any] if handler.is_async else DefStage[Any, Any])(handler, concurrency, seconds)
        self.by_name[name] = stage
        return stage

    def mine(self, stages: tuple[Any, ...]) -> tuple[Stage[Any, Any], ...]:
        """The stages of one ``map``; raises ConfigurationError unless they are of this pipeline."""
        if not stages:
            raise ConfigurationError("map(jobs, stage, ...): at least one stage is needed")
        for stage in stages:
            if not isinstance(stage, Stage) or self.by_name.get(stage.name) is not stage:
                raise ConfigurationError(f"{stage!r} is no stage of this pipeline: decorate it with @pipeline.stage")
        return stages

    def arrays(self) -> dict[str, Array]:
        """How several jobs of each stage are decoded."""
        return {name: stage._jobs for name, stage in self.by_name.items()}

    def served(self) -> dict[str, tuple[Rule, int]]:
        """What a worker needs to know of each; the rule carries its handler."""
        if not self.by_name:
            raise ConfigurationError("this pipeline has no stages; decorate a function with @pipeline.stage first")
        return {
            name: (Rule(lane=stage._handler.rule.lane, application=stage._handler), stage.concurrency)
            for name, stage in self.by_name.items()
        }
