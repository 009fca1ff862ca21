"""A named set of handlers: what ``ReplyServer`` of both worlds registers, and what ``include`` and ``TestServer`` take over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar, overload

from ..contract import Method, StreamMethod
from ..core.jobs import Rule
from ..errors import ConfigurationError, Status
from .binding import Handler, bind, bind_plain
from .context import RequestContext

Req = TypeVar("Req")
Rep = TypeVar("Rep")
F = TypeVar("F", bound=Callable[..., Any])

Frames = list[bytes]


class _Reply(Generic[Req, Rep]):
    """Registers the handler of one ``Method``; its overloads are what makes a wrong handler a type error."""

    def __init__(self, register: Callable[[Callable[..., Any]], None]) -> None:
        self._register = register

    @overload
    def __call__(
        self: _Reply[None, Rep], function: Callable[[], Coroutine[Any, Any, Rep]], /
    ) -> Callable[[], Coroutine[Any, Any, Rep]]: ...
    @overload
    def __call__(self: _Reply[None, Rep], function: Callable[[], Rep], /) -> Callable[[], Rep]: ...
    @overload
    def __call__(
        self, function: Callable[[Req], Coroutine[Any, Any, Rep]], /
    ) -> Callable[[Req], Coroutine[Any, Any, Rep]]: ...
    @overload
    def __call__(
        self, function: Callable[[Req, RequestContext], Coroutine[Any, Any, Rep]], /
    ) -> Callable[[Req, RequestContext], Coroutine[Any, Any, Rep]]: ...
    @overload
    def __call__(self, function: Callable[[Req], Rep], /) -> Callable[[Req], Rep]: ...
    @overload
    def __call__(self, function: Callable[[Req, RequestContext], Rep], /) -> Callable[[Req, RequestContext], Rep]: ...
    def __call__(self, function: Any, /) -> Any:
        self._register(function)
        return function


class _StreamReply(Generic[Req, Rep]):
    """Registers the handler of one ``StreamMethod``."""

    def __init__(self, register: Callable[[Callable[..., Any]], None]) -> None:
        self._register = register

    @overload
    def __call__(self, function: Callable[[Req], AsyncIterator[Rep]], /) -> Callable[[Req], AsyncIterator[Rep]]: ...
    @overload
    def __call__(
        self, function: Callable[[Req, RequestContext], AsyncIterator[Rep]], /
    ) -> Callable[[Req, RequestContext], AsyncIterator[Rep]]: ...
    @overload
    def __call__(self, function: Callable[[Req], Iterator[Rep]], /) -> Callable[[Req], Iterator[Rep]]: ...
    @overload
    def __call__(
        self, function: Callable[[Req, RequestContext], Iterator[Rep]], /
    ) -> Callable[[Req, RequestContext], Iterator[Rep]]: ...
    def __call__(self, function: Any, /) -> Any:
        self._register(function)
        return function


class Handlers:
    """Handlers by method name. ``name`` goes in front of the names of bare ``@server.reply`` functions."""

    _takes_async = False
    """Whether ``async def`` handlers make sense in this world."""

    def __init__(self, name: str, version: str, exceptions: Mapping[type[Exception], Status] | None) -> None:
        if not name or not name.isprintable() or " " in name:
            raise ConfigurationError(f"name={name!r}: a server's name is printable and has no spaces")
        self.name = name
        self.version = version
        self._handlers: dict[str | None, Handler] = {}
        self._exceptions: dict[type[Exception], Status] = dict(exceptions or {})

    @overload
    def reply(self, target: Method[Req, Rep], /, *, inline: bool = ..., dedupe: bool = ...) -> _Reply[Req, Rep]: ...
    @overload
    def reply(self, target: str, /, *, inline: bool = ..., dedupe: bool = ...) -> Callable[[F], F]: ...
    @overload
    def reply(self, target: F, /) -> F: ...
    @overload
    def reply(self, /, *, inline: bool = ..., dedupe: bool = ...) -> Callable[[F], F]: ...
    def reply(self, target: Any = None, /, *, inline: bool = False, dedupe: bool = False) -> Any:
        """Answer a method with this function: ``@server.reply(ADD)``, ``@server.reply("calc.add")`` or bare.

        Bare, the method is called server name + "." + function name. ``inline=True`` runs a ``def`` on the loop itself:
        the fastest, for functions that never wait. ``dedupe=True`` remembers replies by request id for
        ``Limits.dedupe_window`` seconds, so that a request that is sent again does not run again.

        Raises ConfigurationError if the function does not fit the contract, or the method has a handler already.
        """
        if callable(target):
            self._add(target, None, stream=False, inline=inline, dedupe=dedupe)
            return target
        if type(target) is StreamMethod:
            raise ConfigurationError(f"{target.name!r} is a StreamMethod: register it with @server.stream")

        def register(function: Callable[..., Any]) -> None:
            self._add(function, target, stream=False, inline=inline, dedupe=dedupe)

        return _Reply[Any, Any](register)

    @overload
    def stream(self, target: StreamMethod[Req, Rep], /, *, inline: bool = ...) -> _StreamReply[Req, Rep]: ...
    @overload
    def stream(self, target: str, /, *, inline: bool = ...) -> Callable[[F], F]: ...
    @overload
    def stream(self, target: F, /) -> F: ...
    @overload
    def stream(self, /, *, inline: bool = ...) -> Callable[[F], F]: ...
    def stream(self, target: Any = None, /, *, inline: bool = False) -> Any:
        """Answer a method with a generator: each item is one part. It is paused while the reader holds ``Limits.credit``
        parts, and closed (``GeneratorExit`` at its ``yield``) when the reader stops.
        """
        if callable(target):
            self._add(target, None, stream=True, inline=inline, dedupe=False)
            return target
        if type(target) is Method:
            raise ConfigurationError(f"{target.name!r} is a Method: register it with @server.reply")

        def register(function: Callable[..., Any]) -> None:
            self._add(function, target, stream=True, inline=inline, dedupe=False)

        return _StreamReply[Any, Any](register)

    @overload
    def plain(self, function: F, /) -> F: ...
    @overload
    def plain(self, /, *, inline: bool = ...) -> Callable[[F], F]: ...
    def plain(self, function: Any = None, /, *, inline: bool = False) -> Any:
        """Answer bare peers, of any language: the body's frames in, the reply's frames out (``list[bytes]``)."""
        if function is not None:
            return self._set_plain(function, inline=inline)

        def register(later: F) -> F:
            return self._set_plain(later, inline=inline)

        return register

    def _set_plain(self, function: F, *, inline: bool) -> F:
        self._check_async(function, bind_plain(function).is_async)
        if None in self._handlers:
            raise ConfigurationError("this server has a handler for plain bodies already")
        self._handlers[None] = bind_plain(function, inline=inline)
        return function

    def include(self, other: Handlers) -> None:
        """Take over every handler of another server."""
        for name, handler in other._handlers.items():
            if name is not None and name.startswith("zp."):
                continue
            if name in self._handlers:
                raise ConfigurationError(f"{name or 'the plain handler'!r} is registered in both servers")
            self._check_async(handler.function, handler.is_async)
            self._handlers[name] = handler
        self._exceptions = {**other._exceptions, **self._exceptions}

    def _add(
        self,
        function: Callable[..., Any],
        target: Method[Any, Any] | StreamMethod[Any, Any] | str | None,
        *,
        stream: bool,
        inline: bool,
        dedupe: bool,
    ) -> None:
        if target is not None and not isinstance(target, str | Method | StreamMethod):
            raise ConfigurationError(f"{target!r} is no method: pass a Method, a name, or nothing")
        if not callable(function):
            raise ConfigurationError(f"{function!r} cannot be called, so it is no handler")
        if isinstance(target, str | None):
            name = target if target is not None else f"{self.name}.{getattr(function, '__name__', '')}"
            handler = bind(function, name=name, stream=stream, inline=inline, dedupe=dedupe)
        else:
            handler = bind(function, contract=target, stream=stream, inline=inline, dedupe=dedupe)
        self._check_async(function, handler.is_async)
        if handler.name in self._handlers:
            raise ConfigurationError(f"{handler.name!r} has a handler already; one server answers a method once")
        self._handlers[handler.name] = handler

    def _check_async(self, function: Callable[..., Any], is_async: bool) -> None:
        if is_async and not self._takes_async:
            name = getattr(function, "__qualname__", repr(function))
            raise ConfigurationError(
                f"{name} is async def, which this blocking server cannot run: "
                "write it as def, or use zpatterns.asyncio.ReplyServer"
            )

    def _catalogue(self) -> Sequence[Handler]:
        return [handler for name, handler in self._handlers.items() if name is not None and not name.startswith("zp.")]


def rules_of(handlers: Mapping[str | None, Handler]) -> dict[str | None, Rule]:
    """What the replier must know of each method; the rule carries its handler."""
    return {name: replace(handler.rule, application=handler) for name, handler in handlers.items()}
