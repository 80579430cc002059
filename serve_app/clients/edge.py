"""Calls over a deployment handle: sets deadlines, retries if that is safe, translates errors."""

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
from deployments.domain.rate_limits import ObserveQuota
from deployments.runtime.quota_reports import WithQuotas
from serve_app.clients.propagation import propagate_request_context

_ATTEMPTS = 3
_FIRST_PAUSE_S = 0.05
# Serve's default, cloudpickle, inspects each value in Python, which takes twice the time. pickle is
# enough, because both sides have the modules of all values.
_SERIALIZATION = {"request_serialization": "pickle", "response_serialization": "pickle"}


@dataclass(frozen=True, slots=True)
class Call:
    """A method of a deployment, and its arguments."""

    method: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


class Edge:
    """Calls to one deployment. With `cancel_late`, a call that times out or is cancelled is also
    cancelled in its replica; without, the replica finishes it."""

    def __init__(
        self,
        part: str,
        handle: DeploymentHandle,
        timeout_s: float,
        *,
        cancel_late: bool = False,
        observe_quota: ObserveQuota = lambda _quota: None,
    ) -> None:
        """`part` names the deployment in errors. `timeout_s` covers all attempts of a call.
        `observe_quota` is called with the quotas that come with results."""
        self._part = part
        self._handle = handle
        self._timeout_s = timeout_s
        self._cancel_late = cancel_late
        self._observe_quota = observe_quota
        self._methods: dict[tuple[str, bool], DeploymentHandle] = {}

    async def retried(self, call: Call, build_retry: Callable[[], Call] | None = None) -> Any:
        """The result of a call that may be repeated: if its replica dies, another replica gets the
        call, or the one that `build_retry` returns. Raises Unavailable."""
        try:
            async with asyncio.timeout(self._timeout_s):
                for attempt in range(_ATTEMPTS):
                    if attempt == 1 and build_retry is not None:
                        call = build_retry()
                    try:
                        return await self._call(call)
                    except _ReplicaDied:
                        await asyncio.sleep(_FIRST_PAUSE_S * 2**attempt)
        except TimeoutError as error:
            raise Unavailable(self._part) from error
        raise Unavailable(self._part)

    async def once(self, call: Call, timeout_s: float | None = None) -> Any:
        """The result of a call that is never repeated. Raises Unavailable."""
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                return await self._call(call)
        except (_ReplicaDied, TimeoutError) as error:
            raise Unavailable(self._part) from error

    async def stream(self, call: Call) -> AsyncGenerator[Any, None]:
        """The items of a replica's generator, each on request: Ray's gRPC, which memex runs with,
        lets the replica produce items in advance only up to its window. Closing this generator
        cancels the replica's.

        If a replica dies before the first item, another one is called. `timeout_s` applies to each
        item. Raises Unavailable.
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
                            with self._translate_errors():
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
            await asyncio.sleep(_FIRST_PAUSE_S * 2**attempt)
        raise Unavailable(self._part)

    async def _call(self, call: Call) -> Any:
        with (
            self._translate_errors(),
            propagate_request_context(self._part, call.method) as extra,
        ):
            response = self._method(call.method).remote(*call.args, **call.kwargs, **extra)
            try:
                result = await response
            except asyncio.CancelledError:  # timed out, or the request was cancelled
                if self._cancel_late:
                    response.cancel()
                raise
        if not isinstance(result, WithQuotas):
            return result
        for quota in result.quotas:
            self._observe_quota(quota)
        return result.result

    def _method(self, name: str, stream: bool = False) -> DeploymentHandle:
        method = self._methods.get((name, stream))
        if method is None:
            method = self._methods[name, stream] = self._handle.options(
                method_name=name, stream=stream, **_SERIALIZATION
            )
        return method

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Translate Ray's errors into memex's. Raises _ReplicaDied if another replica may
        answer."""
        try:
            yield
        except (MemexError, Fault):  # raised in the replica; Ray may wrap it as below
            raise
        except RayTaskError as error:
            raise _original_error(error, self._part) from None
        except RayActorError as error:
            raise _ReplicaDied from error
        except (RayServeException, RayError, grpc.RpcError) as error:
            raise Unavailable(self._part) from error


class _ReplicaDied(Exception):
    pass


def _original_error(error: RayTaskError, part: str) -> Exception:
    """The error that the replica raised: memex's own unchanged, any other as a Fault without its
    message, which may quote a memory."""
    cause = error.cause
    while isinstance(cause, RayTaskError):
        cause = cause.cause
    if isinstance(cause, MemexError | Fault):
        return cause
    if isinstance(cause, BackPressureError):
        return Unavailable(part)
    return Fault(type(cause).__name__)
