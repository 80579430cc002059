"""Calls over an edge: which are made again, and which errors come out."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError

from deployments.domain.errors import Fault, RateLimited, Unavailable
from deployments.domain.memories import InsertCall, NewMemory
from deployments.domain.ports.store import BatchedStore
from deployments.domain.rate_limits import RateLimit
from deployments.runtime.ids import uuid7
from serve_app.clients.store.remote import remote_store
from tests.support.clients.handles import Handle, as_task_error, died
from tests.support.fakes.embedder import embed_words

LIMIT = RateLimit("write", 60)
MEMORY = NewMemory(uuid7(), "agent", "user", "text")
VECTORS = np.stack([embed_words("text")])


async def insert(handle: Handle) -> Any:
    return await remote_store(handle, 5).inserts.insert([MEMORY], VECTORS, 1, LIMIT)


async def test_a_write_is_tried_again_when_its_replica_dies_and_counted_once() -> None:
    handle = Handle(died(), RayActorError(), "stored")
    assert await insert(handle) == "stored"
    assert [args[-1] for args in handle.calls] == [LIMIT, None, None]
    assert len({args[0][0].id for args in handle.calls}) == 1


async def test_so_are_many_together() -> None:
    handle = Handle(died(), "stored")
    calls = [InsertCall([MEMORY], VECTORS, 1, LIMIT), InsertCall([MEMORY], VECTORS, 2, None)]
    answer: Any = await remote_store(handle, 5).inserts.insert_each(calls)
    assert answer == "stored"
    (first,), (second,) = handle.calls
    assert [call.rate_limit for call in first] == [LIMIT, None]
    assert [call.rate_limit for call in second] == [None, None]
    assert [call.generation for call in second] == [1, 2]


async def test_it_is_not_tried_for_ever() -> None:
    handle = Handle(died())
    with pytest.raises(Unavailable, match="store"):
        await insert(handle)
    assert len(handle.calls) == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.memories.delete("agent", MEMORY.id),
        lambda store: store.memories.forget("agent", "user"),
    ],
)
async def test_deletions_are_not_tried_again(call: Callable[[BatchedStore], Any]) -> None:
    handle = Handle(died())
    with pytest.raises(Unavailable):
        await call(remote_store(handle, 5))
    assert len(handle.calls) == 1


@pytest.mark.parametrize("wrapped", [False, True])
async def test_our_errors_come_out_as_they_are(wrapped: bool) -> None:
    refusal = RateLimited("agent", "write", 60, 1.5)
    handle = Handle(as_task_error(refusal).as_instanceof_cause() if wrapped else refusal)
    with pytest.raises(RateLimited) as raised:
        await insert(handle)
    assert raised.value.retry_after_s == 1.5
    assert len(handle.calls) == 1


@pytest.mark.parametrize("wrapped", [False, True])
async def test_faults_come_out_without_a_traceback_of_the_other_side(wrapped: bool) -> None:
    fault = KeyError("oops")
    with pytest.raises((KeyError, Fault)) as raised:
        await insert(Handle(as_task_error(fault) if wrapped else fault))
    assert "KeyError" in repr(raised.value)
    assert "secrets" not in str(raised.value)
    assert wrapped != ("oops" in str(raised.value))  # its own words may quote a memory
    assert not isinstance(raised.value, Unavailable)


async def test_a_full_queue_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await insert(Handle(BackPressureError(1, 1)))


async def test_a_slow_replica_is_unavailable_in_time() -> None:
    async def slow(*_args: Any) -> None:
        await asyncio.sleep(60)

    handle = Handle(slow)
    with pytest.raises(Unavailable):
        await remote_store(handle, 0.05).memories.count("agent", None)
    assert len(handle.calls) == 1
