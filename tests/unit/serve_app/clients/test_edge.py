"""Calls over an edge: which are retried, and which errors they raise."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError

from deployments.domain.entity_tags import Precondition
from deployments.domain.errors import Fault, RateLimited, Unavailable
from deployments.domain.memories import InsertCall, MemoryPatch, NewMemory, WriteKey
from deployments.domain.ports.store import BatchedStore
from deployments.domain.rate_limits import Quota, RateLimit
from deployments.runtime.ids import uuid7
from deployments.runtime.quota_reports import WithQuotas
from serve_app.clients.store.remote import remote_store
from tests.support.clients.handles import Handle, actor_unavailable, as_task_error
from tests.support.fakes.embedder import embed_words

LIMIT = RateLimit("write", 60)
MEMORY = NewMemory(uuid7(), "agent", "user", "text")
PATCH = MemoryPatch(importance=2.0)
KEY = WriteKey("k", b"1")
SEEN = Precondition(frozenset({"tag"}))
VECTORS = np.stack([embed_words("text")])


async def insert(handle: Handle) -> Any:
    return await remote_store(handle, 5).inserts.insert([MEMORY], VECTORS, 1, LIMIT)


async def test_write_is_retried_after_its_replica_dies_and_counted_once() -> None:
    handle = Handle(actor_unavailable(), RayActorError(), "stored")
    assert await insert(handle) == "stored"
    assert [args[-1] for args in handle.calls] == [LIMIT, None, None]
    assert len({args[0][0].id for args in handle.calls}) == 1


async def test_batched_writes_are_retried_and_counted_once() -> None:
    handle = Handle(actor_unavailable(), "stored")
    calls = [InsertCall([MEMORY], VECTORS, 1, LIMIT), InsertCall([MEMORY], VECTORS, 2, None)]
    answer: Any = await remote_store(handle, 5).inserts.insert_each(calls)
    assert answer == "stored"
    (first,), (second,) = handle.calls
    assert [call.rate_limit for call in first] == [LIMIT, None]
    assert [call.rate_limit for call in second] == [None, None]
    assert [call.generation for call in second] == [1, 2]


async def test_quotas_are_taken_from_results() -> None:
    quotas = [Quota("agent", LIMIT, 3, 1.5), Quota("another", LIMIT, 0, 2.5)]
    seen: list[Quota] = []
    handle = Handle(WithQuotas("stored", quotas))
    store = remote_store(handle, 5, seen.append)
    answer: object = await store.inserts.insert([MEMORY], VECTORS, 1, LIMIT)
    assert answer == "stored"
    assert seen == quotas


async def test_retries_are_limited() -> None:
    handle = Handle(actor_unavailable())
    with pytest.raises(Unavailable, match="store"):
        await insert(handle)
    assert len(handle.calls) == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.memories.delete("agent", MEMORY.id),
        lambda store: store.memories.forget("agent", "user"),
        lambda store: store.keyed_writes.forget_once("agent", "user", KEY),
        lambda store: store.memories.update("agent", MEMORY.id, PATCH, None, None, LIMIT, SEEN),
        lambda store: store.memories.update(
            "agent", MEMORY.id, PATCH, None, None, LIMIT, condition=SEEN
        ),
    ],
)
async def test_deletions_and_updates_with_a_condition_are_not_retried(
    call: Callable[[BatchedStore], Any],
) -> None:
    handle = Handle(actor_unavailable())
    with pytest.raises(Unavailable):
        await call(remote_store(handle, 5))
    assert len(handle.calls) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.keyed_writes.update_once(
            "agent", MEMORY.id, PATCH, None, None, LIMIT, KEY, SEEN
        ),
        lambda store: store.keyed_writes.delete_once("agent", MEMORY.id, KEY, SEEN),
        lambda store: store.memories.update("agent", MEMORY.id, PATCH, None, None, None),
    ],
)
async def test_writes_under_a_key_and_unconditional_updates_are_retried(
    call: Callable[[BatchedStore], Any],
) -> None:
    handle = Handle(actor_unavailable(), "done")
    assert await call(remote_store(handle, 5)) == "done"
    assert handle.calls[0] == handle.calls[1]


@pytest.mark.parametrize("wrapped", [False, True])
async def test_memex_errors_are_raised_unchanged(wrapped: bool) -> None:
    refusal = RateLimited("agent", "write", 60, 1.5)
    handle = Handle(as_task_error(refusal).as_instanceof_cause() if wrapped else refusal)
    with pytest.raises(RateLimited) as raised:
        await insert(handle)
    assert raised.value.retry_after_s == 1.5
    assert len(handle.calls) == 1


@pytest.mark.parametrize("wrapped", [False, True])
async def test_faults_are_raised_without_the_remote_traceback(wrapped: bool) -> None:
    fault = KeyError("oops")
    with pytest.raises((KeyError, Fault)) as raised:
        await insert(Handle(as_task_error(fault) if wrapped else fault))
    assert "KeyError" in repr(raised.value)
    assert "secrets" not in str(raised.value)
    assert wrapped != ("oops" in str(raised.value))  # the remote message may quote a memory
    assert not isinstance(raised.value, Unavailable)


async def test_full_queue_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await insert(Handle(BackPressureError(1, 1)))


async def test_slow_replica_is_unavailable_after_the_deadline() -> None:
    async def slow(*_args: Any) -> None:
        await asyncio.sleep(60)

    handle = Handle(slow)
    with pytest.raises(Unavailable):
        await remote_store(handle, 0.05).memories.count("agent", None)
    assert len(handle.calls) == 1
