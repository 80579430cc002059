"""What every deployment does for its calls: log failures where they happen, and continue traces."""

import dataclasses
import functools
import gc
import inspect
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, TypeVar

from deployments.domain.errors import Fault, MemexError, StartupError, Unavailable
from deployments.runtime import logs, quota_reports, tracing

_logger = logging.getLogger(logs.NAME)
# How many young objects start a garbage collection. Every request makes hundreds that need none;
# with Python's default of 700, a busy ingress spends a tenth of its time on collections.
_GC_THRESHOLD = 10_000
_Node = TypeVar("_Node", bound=type)
_Method = Callable[..., Any]


def prepare(deployment: str) -> None:
    """Set up garbage collection, logs and traces. Call it first in a replica, before anything is
    logged. Raises BadSetting."""
    gc.set_threshold(_GC_THRESHOLD)
    logs.install()
    tracing.start(deployment)


def answering(*ports: type) -> Callable[[_Node], _Node]:
    """Decorate a deployment's class, which has the methods of these ports.

    Each method then accepts a call's trace, and logs a failure as one line, with the ids of the
    requests that the call is made for (Serve adds them). An unexpected error is raised as a Fault.
    """

    def decorate(node: _Node) -> _Node:
        for name in {name for port in ports for name in _methods(port)}:
            setattr(node, name, _traced(getattr(node, name), f"{node.__name__}.{name}"))
        return node

    return decorate


def answering_by_parts(parts: type) -> Callable[[_Node], _Node]:
    """As `answering`, for a class whose attribute `parts` is of this dataclass, with a port in each
    field. The class gets the methods of all ports; one that reports quotas returns its result as
    WithQuotas. Raises TypeError if two ports have a method of the same name."""

    def decorate(node: _Node) -> _Node:
        for field in dataclasses.fields(parts):
            for name in _methods(field.type):
                if hasattr(node, name):
                    raise TypeError(f"{parts.__name__} has two methods named {name}")
                method = _forward(field.name, name, getattr(field.type, name))
                setattr(node, name, _traced(method, f"{node.__name__}.{name}"))
        return node

    return decorate


def _methods(port: Any) -> list[str]:
    return [name for name in dir(port) if not name.startswith("_")]


def _forward(part: str, name: str, declared: _Method) -> _Method:
    if inspect.iscoroutinefunction(declared):

        @functools.wraps(declared)
        async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            with quota_reports.collecting() as quotas:
                result = await getattr(getattr(self.parts, part), name)(*args, **kwargs)
            return quota_reports.WithQuotas(result, quotas) if quotas else result

        return call

    @functools.wraps(declared)
    async def generate(self: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        async with aclosing(getattr(getattr(self.parts, part), name)(*args, **kwargs)) as items:
            async for item in items:
                yield item

    return generate


def _traced(method: _Method, name: str) -> _Method:
    if inspect.isasyncgenfunction(method):
        return _traced_stream(method, name)

    @functools.wraps(method)
    async def answer(
        self: object, *args: Any, trace: tracing.Carrier | None = None, **kwargs: Any
    ) -> Any:
        with _failures_logged(name):
            if trace is None:
                return await method(self, *args, **kwargs)
            with tracing.answer_span(trace, name):
                return await method(self, *args, **kwargs)

    return answer


def _traced_stream(method: Callable[..., AsyncGenerator[Any, None]], name: str) -> _Method:
    @functools.wraps(method)
    async def answer(
        self: object, *args: Any, trace: tracing.Carrier | None = None, **kwargs: Any
    ) -> AsyncGenerator[Any, None]:
        with _failures_logged(name), tracing.answer_stream_span(trace, name):
            async with aclosing(method(self, *args, **kwargs)) as items:
                async for item in items:
                    yield item

    return answer


@contextmanager
def _failures_logged(name: str) -> Iterator[None]:
    try:
        yield
    except Fault:  # logged by the method that this one called
        raise
    except (Unavailable, StartupError) as error:
        _log_once(name, error)
        raise
    except MemexError:  # an answer, not a failure
        raise
    except Exception as error:
        _logger.error("%s failed", name, exc_info=error)
        raise Fault(type(error).__name__) from None


def _log_once(name: str, error: Unavailable | StartupError) -> None:
    """Log the error, unless a method that it has passed through has logged it already."""
    if not getattr(error, "is_logged", False):
        error.is_logged = True  # type: ignore[union-attr]
        cause = f" ({logs.describe(error.__cause__)})" if error.__cause__ is not None else ""
        level = logging.WARNING if isinstance(error, Unavailable) else logging.ERROR
        _logger.log(level, "%s failed: %s%s", name, error, cause)
