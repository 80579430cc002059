"""Calls over a deployment handle: deadlines, safe retries, errors unwrapped once."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.domain.errors import Fault, MemexError, Unavailable
from serve_app.carrying import carried

_ATTEMPTS = 3
_PAUSE_S = 0.05
# Serve's own choice, cloudpickle, asks Python about each value in turn: twice the time. Whatever
# travels here is of modules that both sides have.
_SERIALIZATION = {"request_serialization": "pickle", "response_serialization": "pickle"}


class Once:
    """An argument of the first try; `later` gives it in those after it."""

    def __init__(self, value: object, later: Callable[[], object] = lambda: None) -> None:
        self.value = value
        self.later = later


class Edge:
    """Calls to one deployment. With `cancel_late`, one that nobody waits for any longer is
    cancelled in its replica too; without, a late one is left to end there."""

    def __init__(
        self, part: str, handle: DeploymentHandle, timeout_s: float, cancel_late: bool = False
    ) -> None:
        self._part = part
        self._handle = handle
        self._timeout_s = timeout_s
        self._cancel_late = cancel_late
        self._methods: dict[tuple[str, bool], DeploymentHandle] = {}

    async def call_again(self, method: str, *args: Any) -> Any:
        """A call that may be made twice: tried on another replica when one dies under it."""
        given = [arg.value if isinstance(arg, Once) else arg for arg in args]
        try:
            async with asyncio.timeout(self._timeout_s):
                for attempt in range(_ATTEMPTS):
                    if attempt == 1:
                        given = [arg.later() if isinstance(arg, Once) else arg for arg in args]
                    try:
                        return await self._call(method, *given)
                    except _ReplicaDied:
                        await asyncio.sleep(_PAUSE_S * 2**attempt)
        except TimeoutError as error:
            raise Unavailable(self._part) from error
        raise Unavailable(self._part)

    async def call_once(self, method: str, *args: Any, timeout_s: float | None = None) -> Any:
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                return await self._call(method, *args)
        except (_ReplicaDied, TimeoutError) as error:
            raise Unavailable(self._part) from error

    async def stream(self, method: str, *args: Any) -> AsyncGenerator[Any, None]:
        """What a generator there yields, each when it is asked for: Ray's gRPC, which memex runs
        with, lets the other side go ahead by its window alone. Closing this cancels the other side.

        When a replica dies before the first item, another one is tried.
        """
        begun = False
        for attempt in range(_ATTEMPTS):
            response = self._method(method, stream=True).remote(*args)
            try:
                while True:
                    try:
                        async with asyncio.timeout(self._timeout_s):
                            with self._named_errors():
                                item = await anext(response)
                    except StopAsyncIteration:
                        return
                    begun = True
                    yield item
            except (_ReplicaDied, TimeoutError) as error:
                if begun or isinstance(error, TimeoutError):
                    raise Unavailable(self._part) from error
            finally:
                response.cancel()
            await asyncio.sleep(_PAUSE_S * 2**attempt)
        raise Unavailable(self._part)

    async def _call(self, method: str, *args: Any) -> Any:
        with self._named_errors(), carried(self._part, method) as extra:
            response = self._method(method).remote(*args, **extra)
            try:
                return await response
            except asyncio.CancelledError:  # late, or the request has gone away
                if self._cancel_late:
                    response.cancel()
                raise

    def _method(self, name: str, stream: bool = False) -> DeploymentHandle:
        method = self._methods.get((name, stream))
        if method is None:
            method = self._methods[name, stream] = self._handle.options(
                method_name=name, stream=stream, **_SERIALIZATION
            )
        return method

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Turns Ray's many ways to fail into ours; raises _ReplicaDied where another may do."""
        try:
            yield
        except (MemexError, Fault):  # raised in the replica; or it comes as a RayTaskError below
            raise
        except RayTaskError as error:
            raise _unwrapped(error, self._part) from None
        except RayActorError as error:
            raise _ReplicaDied from error
        except (RayServeException, RayError, grpc.RpcError) as error:
            raise Unavailable(self._part) from error


class _ReplicaDied(Exception):
    pass


def _unwrapped(error: RayTaskError, part: str) -> Exception:
    """The error as it was raised in the replica: ours as it is; another is a fault, without its
    words, which may quote a memory."""
    cause = error.cause
    while isinstance(cause, RayTaskError):
        cause = cause.cause
    if isinstance(cause, MemexError | Fault):
        return cause
    if isinstance(cause, BackPressureError):
        return Unavailable(part)
    return Fault(type(cause).__name__)
