"""What goes with a call to a deployment, and for whom it is made."""

import asyncio
from typing import Any

import numpy as np
import pytest
from ray.serve import context as serve_context

from deployments.domain.errors import Unavailable
from deployments.domain.search import SearchCall
from serve_app.clients.coalescer import Bounds, Coalescer
from serve_app.clients.store.remote import remote_store
from serve_app.web.request_context import RequestContext, act_for, current_requests

CALL = SearchCall(None, np.zeros(1), 1, None)  # type: ignore[arg-type]


class Handle:
    """Notes what Serve would take from its context when a call is made."""

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
    """As Serve and then the application begin a request."""
    context = serve_context._RequestContext(
        route="/",
        request_id=request_id,
        _internal_request_id=f"internal {request_id}",
        app_name="memex",
        cancel_on_parent_request_cancel=True,
    )
    serve_context._serve_request_context.set(context)
    act_for([RequestContext(request_id)])
    return context


async def test_a_requests_own_call_is_left_to_serve() -> None:
    handle = Handle()
    context = in_request("a")
    await remote_store(handle, 5).memories.count("agent", None)
    assert handle.contexts == [context]
    assert handle.calls == [(("agent", None), {})]


async def test_a_call_for_several_says_all_of_them_and_ends_with_none_of_them() -> None:
    handle = Handle()
    store = remote_store(handle, 5)
    before = in_request("a")
    act_for([RequestContext("a"), RequestContext("b,c")])
    await store.searches.search_each([CALL, CALL])
    (told,) = handle.contexts
    assert told.request_id == "a, b,c"
    assert (told.route, told.app_name) == ("/", "memex")
    assert told._internal_request_id == ""
    assert not told.cancel_on_parent_request_cancel  # Serve would cancel it with the first's client
    assert serve_context._get_serve_request_context() is before


async def test_coalesced_calls_are_made_for_those_they_carry() -> None:
    """Also where they are tried alone, in a task that another's began."""
    seen: list[tuple[list[str], list[str]]] = []
    gate = asyncio.Event()

    async def call(items: list[str]) -> list[str]:
        seen.append((items, [request.request_id for request in current_requests()]))
        await gate.wait()
        if len(items) > 1:
            raise RuntimeError("one of them is at fault")
        return items

    coalescer = Coalescer[str, str](call, "x", Bounds(1, 8, 8))

    async def request(name: str) -> str:
        in_request(name)
        return await coalescer.submit(name)

    requests = [asyncio.create_task(request(name)) for name in "ab"]
    requests += [asyncio.create_task(late(request, name)) for name in "cd"]
    await asyncio.sleep(0.05)
    gate.set()
    assert await asyncio.gather(*requests) == list("abcd")
    assert len(seen) > 4
    assert all(items == ids for items, ids in seen)


async def late(request: Any, name: str) -> str:
    await asyncio.sleep(0.01)
    return str(await request(name))


async def test_without_a_request_nothing_is_said() -> None:
    handle = Handle()
    act_for([])
    serve_context._serve_request_context.set(None)
    await remote_store(handle, 5).health.ping()
    assert handle.contexts[0].request_id == ""


async def test_serves_context_is_as_it_was_after_a_failure() -> None:
    class Failing(Handle):
        def _remote(self, *_args: Any, **_kwargs: Any) -> Any:
            raise Unavailable("store")

    before = in_request("a")
    act_for([RequestContext("b")])
    with pytest.raises(Unavailable):
        await remote_store(Failing(), 5).health.ping()
    assert serve_context._get_serve_request_context() is before
