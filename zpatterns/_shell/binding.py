"""A handler function, understood once at registration: its name, its types, where it runs. Errors surface here, not later."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

from ..codec import Codec, CodecName, codec_for
from ..contract import Method, StreamMethod, check_name
from ..core.jobs import ALWAYS, LOOP, THREADS, Rule
from ..errors import ConfigurationError
from .context import RequestContext

_MANY = (Iterator, Iterable, Generator, AsyncIterator, AsyncIterable, AsyncGenerator)


@dataclass(frozen=True, slots=True)
class Handler:
    """One bound handler. ``request`` is None for a handler that takes no body; ``reply`` codes the reply or a part."""

    name: str | None
    function: Callable[..., Any]
    stream: bool
    is_async: bool
    takes_body: bool
    takes_context: bool
    request_type: Any
    reply_type: Any
    request: Codec[Any] | None
    reply: Codec[Any] | None
    rule: Rule

    @property
    def on_loop(self) -> bool:
        """Whether it runs on the loop itself."""
        return self.rule.lane != THREADS


def bind(
    function: Callable[..., Any],
    *,
    contract: Method[Any, Any] | StreamMethod[Any, Any] | None = None,
    name: str | None = None,
    stream: bool = False,
    inline: bool = False,
    dedupe: bool = False,
    always: bool = False,
) -> Handler:
    """Understand a function as the handler of a typed method; raises ConfigurationError for what cannot work."""
    label = getattr(function, "__qualname__", repr(function))
    is_async = _is_async(function)
    if inline and is_async:
        raise ConfigurationError(f"{label} is async def, which runs on the loop anyway: leave inline=True out")
    hints = _hints(function, label)
    takes_body, takes_context, request_type = _parameters(function, hints, label)
    reply_type = _reply_type(hints, label, stream=stream)
    codec_name: CodecName = "msgpack"
    if contract is not None:
        name, codec_name = contract.name, contract.codec
        declared_reply = contract.reply if isinstance(contract, Method) else contract.part
        _agree(
            label, contract.name, "takes", request_type, contract.request, known=takes_body or contract.request is None
        )
        _agree(label, contract.name, "returns", reply_type, declared_reply, known="return" in hints)
        request_type, reply_type = contract.request, declared_reply
        if request_type is not None and not takes_body:
            raise ConfigurationError(f"{label} takes no request, but {contract.name!r} has one: {request_type!r}")
        dedupe = dedupe or getattr(contract, "dedupe", False)
    elif name is not None and not always:
        check_name(name)
    lane = ALWAYS if always else LOOP if inline or is_async else THREADS
    return Handler(
        name=name,
        function=function,
        stream=stream,
        is_async=is_async,
        takes_body=takes_body,
        takes_context=takes_context,
        request_type=request_type,
        reply_type=reply_type,
        request=_codec(label, request_type, codec_name) if takes_body or request_type is not None else None,
        reply=_codec(label, reply_type, codec_name),
        rule=Rule(lane=lane, stream=stream, dedupe=dedupe),
    )


def bind_plain(function: Callable[..., Any], *, inline: bool = False) -> Handler:
    """Understand a function as the handler of plain bodies: frames in, frames out."""
    label = getattr(function, "__qualname__", repr(function))
    is_async = _is_async(function)
    _, takes_context, _ = _parameters(function, _hints(function, label), label)
    lane = LOOP if inline or is_async else THREADS
    return Handler(None, function, False, is_async, True, takes_context, None, None, None, None, Rule(lane=lane))


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _hints(function: Callable[..., Any], label: str) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ConfigurationError(
            f"an annotation of {label} cannot be resolved: {error}. Define the model at the top of a module, "
            "not inside a function (with 'from __future__ import annotations' it is only a name by now)"
        ) from error
    except TypeError as error:
        raise ConfigurationError(f"the annotations of {label} cannot be read: {error}") from error


def _parameters(function: Callable[..., Any], hints: dict[str, Any], label: str) -> tuple[bool, bool, Any]:
    """Whether it takes a body, whether a context, and the type of the body."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{label} has no readable signature: {error}") from error
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters):
        raise ConfigurationError(
            f"{label} has keyword-only parameters without a default; a handler is called by position"
        )
    last = positional[-1] if positional else None
    takes_context = last is not None and (hints.get(last.name) is RequestContext or last.name == "ctx")
    bodies = positional[:-1] if takes_context else positional
    required = [p for p in bodies[1:] if p.default is p.empty]
    if required:
        names = ", ".join(p.name for p in required)
        raise ConfigurationError(
            f"{label} asks for more than a request and a context: {names}. Put them into the request"
        )
    if not bodies or (bodies[0].default is not bodies[0].empty and bodies[0].name not in hints):
        return False, takes_context, None
    return True, takes_context, hints.get(bodies[0].name, Any)


def _reply_type(hints: dict[str, Any], label: str, *, stream: bool) -> Any:
    annotated = hints.get("return", Any)
    if annotated is type(None):
        annotated = None
    if not stream:
        return annotated
    if annotated is Any:
        return Any
    if get_origin(annotated) in _MANY and get_args(annotated):
        return get_args(annotated)[0]
    raise ConfigurationError(f"{label} is a stream handler: annotate it with Iterator[...] or AsyncIterator[...]")


def _agree(label: str, method: str, verb: str, annotated: Any, declared: Any, *, known: bool) -> None:
    """A contract is checked against the annotation; no annotation agrees with everything."""
    if known and annotated is not Any and annotated != declared and not (annotated is type(None) and declared is None):
        raise ConfigurationError(f"{label} {verb} {annotated!r}, but the contract of {method!r} says {declared!r}")


def _codec(label: str, form: Any, codec: CodecName) -> Codec[Any]:
    try:
        return codec_for(form, codec=codec)
    except ConfigurationError as error:
        raise ConfigurationError(f"{label}: {error}") from error
