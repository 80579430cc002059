"""Declares how a port's methods are called over an edge, in one line for each method.

class RemoteMemories(Remote):
    get = retried(Memories.get)
    delete = once(Memories.delete)
"""

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Concatenate, ParamSpec, TypeVar

from serve_app.clients.edge import Call, Edge

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Method = Callable[Concatenate[Any, _P], Coroutine[Any, Any, _T]]
_Generator = Callable[Concatenate[Any, _P], AsyncGenerator[_T, None]]

ChangeArguments = Callable[[dict[str, Any]], None]
"""Changes a call's arguments, by name, for all attempts after the first."""


class Remote:
    """A port, implemented by calls over a deployment's edge."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge


def retried(
    method: _Method[_P, _T], change_arguments: ChangeArguments | None = None
) -> _Method[_P, _T]:
    """For a method that may be called again: it only reads, or a second call changes nothing."""
    name, signature = method.__name__, inspect.signature(method)

    @functools.wraps(method)
    async def call(self: Any, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        def build_retry() -> Call:
            assert change_arguments is not None
            bound = signature.bind(self, *args, **kwargs)
            change_arguments(bound.arguments)
            return Call(name, bound.args[1:], bound.kwargs)

        first = Call(name, args, kwargs)
        result: _T = await self._edge.retried(
            first, None if change_arguments is None else build_retry
        )
        return result

    return call


def once(method: _Method[_P, _T], timeout_s: float | None = None) -> _Method[_P, _T]:
    """For a method that must not be called again, because the second answer would differ.
    `timeout_s` replaces the edge's."""
    name = method.__name__

    @functools.wraps(method)
    async def call(self: Any, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        result: _T = await self._edge.once(Call(name, args, kwargs), timeout_s)
        return result

    return call


def streamed(method: _Generator[_P, _T]) -> _Generator[_P, _T]:
    """For a method that is an asynchronous generator."""
    name = method.__name__

    @functools.wraps(method)
    async def generate(
        self: Any, /, *args: _P.args, **kwargs: _P.kwargs
    ) -> AsyncGenerator[_T, None]:
        async with aclosing(self._edge.stream(Call(name, args, kwargs))) as items:
            async for item in items:
                yield item

    return generate
