"""How a port's methods are called over an edge: one line for each method of a port.

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
"""Changes a call's arguments, by name, for the attempts after the first."""


class Remote:
    """A port over a deployment's edge."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge


def retried(method: _Method[_P, _T], again: ChangeArguments | None = None) -> _Method[_P, _T]:
    """The method may be called more than once: it reads, or does the same when it is done twice."""
    name, signature = method.__name__, inspect.signature(method)

    @functools.wraps(method)
    async def call(self: Any, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        def changed() -> Call:
            assert again is not None
            bound = signature.bind(self, *args, **kwargs)
            again(bound.arguments)
            return Call(name, bound.args[1:], bound.kwargs)

        first = Call(name, args, kwargs)
        result: _T = await self._edge.retried(first, changed if again is not None else None)
        return result

    return call


def once(method: _Method[_P, _T], timeout_s: float | None = None) -> _Method[_P, _T]:
    """The method must not be called again: a second call would give another answer."""
    name = method.__name__

    @functools.wraps(method)
    async def call(self: Any, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        result: _T = await self._edge.once(Call(name, args, kwargs), timeout_s)
        return result

    return call


def streamed(method: _Generator[_P, _T]) -> _Generator[_P, _T]:
    """The method is a generator."""
    name = method.__name__

    @functools.wraps(method)
    async def generate(
        self: Any, /, *args: _P.args, **kwargs: _P.kwargs
    ) -> AsyncGenerator[_T, None]:
        async with aclosing(self._edge.stream(Call(name, args, kwargs))) as items:
            async for item in items:
                yield item

    return generate
