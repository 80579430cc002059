"""Calls over a deployment handle: deadlines, safe retries, errors unwrapped in one place."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.domain.errors import Fault, MemexError, Unavailable
from serve_app.clients.propagation import propagate_request_context

_ATTEMPTS = 3
_PAUSE_S = 0.05
# Serve's default, cloudpickle, asks Python about each value in turn, which takes twice the time.
# What we send is of modules that both sides have.
_SERIALIZATION = {"request_serialization": "pickle", "response_serialization": "pickle"}


@dataclass(frozen=True, slots=True)
class Call:
    """A method of a deployment, and its arguments."""

    method: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


class Edge:
    """Calls to one deployment. With `cancel_late`, a call that nobody waits for any longer is
    cancelled in its replica too; without, it is left to end there."""

    def __init__(
        self, part: str, handle: DeploymentHandle, timeout_s: float, *, cancel_late: bool = False
    ) -> None:
        """`part` names the deployment in errors. `timeout_s` is for all attempts of a call
        together."""
        self._part = part
        self._handle = handle
        self._timeout_s = timeout_s
        self._cancel_late = cancel_late
        self._methods: dict[tuple[str, bool], DeploymentHandle] = {}

    async def retried(self, call: Call, again: Callable[[], Call] | None = None) -> Any:
        """A call that may be made more than once: if a replica dies under it, another one is tried,
        with the call that `again` gives. Raises Unavailable."""
        try:
            async with asyncio.timeout(self._timeout_s):
                for attempt in range(_ATTEMPTS):
                    if attempt == 1 and again is not None:
                        call = again()
                    try:
                        return await self._call(call)
                    except _ReplicaDied:
                        await asyncio.sleep(_PAUSE_S * 2**attempt)
        except TimeoutError as error:
            raise Unavailable(self._part) from error
        raise Unavailable(self._part)

    async def once(self, call: Call, timeout_s: float | None = None) -> Any:
        """A call that is made once. Raises Unavailable."""
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                return await self._call(call)
        except (_ReplicaDied, TimeoutError) as error:
            raise Unavailable(self._part) from error

    async def stream(self, call: Call) -> AsyncGenerator[Any, None]:
        """The items of a generator, each when it is asked for: Ray's gRPC, which memex runs with,
        lets the other side go ahead only by its window. Closing this cancels the other side.

        If a replica dies before the first item, another one is tried. `timeout_s` is for each item.
        """
        has_begun = False
        for attempt in range(_ATTEMPTS):
            with propagate_request_context(self._part, call.method) as extra:
                method = self._method(call.method, stream=True)
                response = method.remote(*call.args, **call.kwargs, **extra)
            try:
                while True:
                    try:
                        async with asyncio.timeout(self._timeout_s):
                            with self._translated_errors():
                                item = await anext(response)
                    except StopAsyncIteration:
                        return
                    has_begun = True
                    yield item
            except (_ReplicaDied, TimeoutError) as error:
                if has_begun or isinstance(error, TimeoutError):
                    raise Unavailable(self._part) from error
            finally:
                response.cancel()
            await asyncio.sleep(_PAUSE_S * 2**attempt)
        raise Unavailable(self._part)

    async def _call(self, call: Call) -> Any:
        with (
            self._translated_errors(),
            propagate_request_context(self._part, call.method) as extra,
        ):
            response = self._method(call.method).remote(*call.args, **call.kwargs, **extra)
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
    def _translated_errors(self) -> Iterator[None]:
        """Turns Ray's many ways to fail into ours; raises _ReplicaDied if another replica may
        answer."""
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
    """The error that the replica raised: one of ours unchanged; any other as a Fault, without its
    message, which may quote a memory."""
    cause = error.cause
    while isinstance(cause, RayTaskError):
        cause = cause.cause
    if isinstance(cause, MemexError | Fault):
        return cause
    if isinstance(cause, BackPressureError):
        return Unavailable(part)
    return Fault(type(cause).__name__)
