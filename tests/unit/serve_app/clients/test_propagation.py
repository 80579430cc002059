"""The request context that a call to a node carries."""

import asyncio
from typing import Any

import numpy as np
import pytest
from ray.serve import context as serve_context

from deployments.domain.errors import Unavailable
from deployments.domain.search import SearchCall
from serve_app.clients.coalescer import Bounds, Coalescer
from serve_app.clients.store.remote import remote_store
from serve_app.web.request_context import RequestContext, current_requests, set_current_requests

CALL = SearchCall(None, np.zeros(1), 1, None)  # type: ignore[arg-type]


class Handle:
    """Records the context that Serve would read when a call is made."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.contexts: list[Any] = []

    def options(self, **_options: Any) -> Any:
        return type("Method", (), {"remote": staticmethod(self._remote)})

    def _remote(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append((args, kwargs))
        self.contexts.append(serve_context._get_serve_request_context())
        return asyncio.sleep(0, [])


def in_request(request_id: str) -> Any:
    """Begin a request, as Serve and then the application do."""
    context = serve_context._RequestContext(
        route="/",
        request_id=request_id,
        _internal_request_id=f"internal {request_id}",
        app_name="memex",
        cancel_on_parent_request_cancel=True,
    )
    serve_context._serve_request_context.set(context)
    set_current_requests([RequestContext(request_id)])
    return context


async def test_call_for_one_request_keeps_serves_context() -> None:
    handle = Handle()
    context = in_request("a")
    await remote_store(handle, 5).memories.count("agent", None)
    assert handle.contexts == [context]
    assert handle.calls == [(("agent", None), {})]


async def test_shared_call_carries_all_request_ids_and_is_cancelled_with_none() -> None:
    handle = Handle()
    store = remote_store(handle, 5)
    before = in_request("a")
    set_current_requests([RequestContext("a"), RequestContext("b,c")])
    await store.searches.search_each([CALL, CALL])
    (context,) = handle.contexts
    assert context.request_id == "a, b,c"
    assert (context.route, context.app_name) == ("/", "memex")
    assert context._internal_request_id == ""
    assert (
        not context.cancel_on_parent_request_cancel
    )  # or Serve would cancel it with the first client
    assert serve_context._get_serve_request_context() is before


async def test_coalesced_calls_carry_the_requests_of_their_callers() -> None:
    """Also if an item is retried alone, in a task that another request started."""
    carried: list[tuple[list[str], list[str]]] = []
    gate = asyncio.Event()

    async def call(items: list[str]) -> list[str]:
        carried.append((items, [request.request_id for request in current_requests()]))
        await gate.wait()
        if len(items) > 1:
            raise RuntimeError("one of them is at fault")
        return items

    coalescer = Coalescer[str, str](call, "x", Bounds(1, 8, 8))

    async def request(name: str) -> str:
        in_request(name)
        return await coalescer.submit(name)

    requests = [asyncio.create_task(request(name)) for name in "ab"]
    requests += [asyncio.create_task(delayed(request, name)) for name in "cd"]
    await asyncio.sleep(0.05)
    gate.set()
    assert await asyncio.gather(*requests) == list("abcd")
    assert len(carried) > 4
    assert all(items == ids for items, ids in carried)


async def delayed(request: Any, name: str) -> str:
    await asyncio.sleep(0.01)
    return str(await request(name))


async def test_call_outside_a_request_has_no_request_id() -> None:
    handle = Handle()
    set_current_requests([])
    serve_context._serve_request_context.set(None)
    await remote_store(handle, 5).health.ping()
    assert handle.contexts[0].request_id == ""


async def test_serves_context_is_restored_after_a_failure() -> None:
    class Failing(Handle):
        def _remote(self, *_args: Any, **_kwargs: Any) -> Any:
            raise Unavailable("store")

    before = in_request("a")
    set_current_requests([RequestContext("b")])
    with pytest.raises(Unavailable):
        await remote_store(Failing(), 5).health.ping()
    assert serve_context._get_serve_request_context() is before
