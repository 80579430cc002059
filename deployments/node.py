"""What every deployment does for its calls: their failures are logged where they happen, and their
traces go on."""

import functools
import gc
import inspect
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, TypeVar

from deployments import logs, tracing
from deployments.domain.errors import Fault, MemexError, StartupError, Unavailable

_logger = logging.getLogger(logs.NAME)
# Young objects that a collection waits for. Every request makes hundreds that are garbage without
# one; with Python's 700 a busy ingress spends a tenth of its time looking at them.
_GARBAGE_THRESHOLD = 10_000
_Node = TypeVar("_Node", bound=type)
_Method = Callable[..., Awaitable[Any]]


def prepare(deployment: str) -> None:
    """In a replica's beginning, before anything is logged. Raises BadSetting."""
    gc.set_threshold(_GARBAGE_THRESHOLD)
    logs.install()
    tracing.start(deployment)


def answering(*ports: type) -> Callable[[_Node], _Node]:
    """Decorates a deployment's class: each method of its ports takes a call's trace, and what it
    fails with is one line of the log, which has the ids of the requests that the call was for
    (Serve adds them). What nobody foresaw is raised as a Fault."""

    def decorated(node: _Node) -> _Node:
        for name in {name for port in ports for name in dir(port) if not name.startswith("_")}:
            setattr(node, name, _answering(getattr(node, name), f"{node.__name__}.{name}"))
        return node

    return decorated


def _answering(method: _Method, name: str) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(method):
        return _yielding(method, name)

    @functools.wraps(method)
    async def answer(
        self: object, *args: Any, trace: tracing.Carrier | None = None, **kwargs: Any
    ) -> Any:
        with _noted(name):
            if trace is None:
                return await method(self, *args, **kwargs)
            with tracing.continued(trace, name):
                return await method(self, *args, **kwargs)

    return answer


def _yielding(method: Callable[..., AsyncGenerator[Any, None]], name: str) -> Callable[..., Any]:
    @functools.wraps(method)
    async def answer(
        self: object, *args: Any, trace: tracing.Carrier | None = None, **kwargs: Any
    ) -> AsyncGenerator[Any, None]:
        with _noted(name):
            async with aclosing(method(self, *args, **kwargs)) as items:
                async for item in items:
                    yield item

    return answer


@contextmanager
def _noted(name: str) -> Iterator[None]:
    try:
        yield
    except Fault:  # of a method that this one called: it is logged already
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
    """Not again by the methods that it comes through on its way out."""
    if not getattr(error, "is_logged", False):
        error.is_logged = True  # type: ignore[union-attr]
        cause = f" ({logs.said(error.__cause__)})" if error.__cause__ is not None else ""
        level = logging.WARNING if isinstance(error, Unavailable) else logging.ERROR
        _logger.log(level, "%s failed: %s%s", name, error, cause)
