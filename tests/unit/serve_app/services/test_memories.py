from dataclasses import replace

import pytest

from deployments.domain.errors import MemoryNotFound, ModelMismatch, RateLimited, Unavailable
from deployments.domain.memories import MemoryPatch, NewMemory, WriteKey
from deployments.domain.search import SearchQuery
from deployments.domain.searching.chunks import chunks_of
from deployments.runtime.ids import uuid7
from serve_app.services.memories import MemoryService
from tests.support.fakes.embedder import IDENTITY, FakeEmbedder
from tests.support.fakes.store import InMemoryStore

OTHER = replace(IDENTITY, name="fake/other")


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def memory(agent: str = "agent", content: str = "text") -> NewMemory:
    return NewMemory(uuid7(), agent, "user", content)


@pytest.fixture
def service(embedder: FakeEmbedder, store: InMemoryStore) -> MemoryService:
    return MemoryService(embedder, store)


async def test_contents_are_passages_and_searches_are_queries(
    service: MemoryService, embedder: FakeEmbedder
) -> None:
    await service.add([memory(content="a"), memory(content="b")])
    await service.search(SearchQuery("agent", "user", "q"))
    assert embedder.calls == [(["a", "b"], "passage"), (["q"], "query")]


async def test_chunks_of_a_long_query_are_embedded_in_one_call(
    service: MemoryService, embedder: FakeEmbedder
) -> None:
    await service.add([memory(content="the gate opens with lantern")])
    text = "a printer repeats the line. " * 40 + "what opens the gate?"
    result = await service.search(SearchQuery("agent", "user", text, explain=True))
    chunks = chunks_of(text)
    assert embedder.calls[1:] == [(list(chunks), "query")]
    ((hit,),) = (result.hits,)
    assert hit.explanation is not None
    assert hit.explanation.chunk == chunks[-1]


async def test_patch_embeds_only_new_content(
    service: MemoryService, embedder: FakeEmbedder
) -> None:
    (stored,) = await service.add([memory()])
    await service.update("agent", stored.id, MemoryPatch(importance=2.0))
    assert len(embedder.calls) == 1
    await service.update("agent", stored.id, MemoryPatch(content="new"))
    assert embedder.calls[-1] == (["new"], "passage")


async def test_missing_memory_raises_memory_not_found(service: MemoryService) -> None:
    for call in (
        service.get("agent", uuid7()),
        service.delete("agent", uuid7()),
        service.update("agent", uuid7(), MemoryPatch(importance=1.0)),
    ):
        with pytest.raises(MemoryNotFound):
            await call


async def test_known_rate_limited_agent_is_refused_without_embedding(
    embedder: FakeEmbedder, store: InMemoryStore
) -> None:
    clock = Clock()
    service = MemoryService(embedder, store, writes_per_minute=1, monotonic_s=clock)
    await service.add([memory()])
    with pytest.raises(RateLimited):
        await service.add([memory()])
    calls = len(embedder.calls)
    clock.now_s += 30
    with pytest.raises(RateLimited) as refused:
        await service.add([memory()])
    assert refused.value.retry_after_s == pytest.approx(30, abs=0.5)
    assert len(embedder.calls) == calls
    await service.add([memory("another agent")])
    clock.now_s += 31
    with pytest.raises(RateLimited):  # from the fake store, whose own minute has not passed
        await service.add([memory()])
    assert len(embedder.calls) > calls + 1


async def test_one_rate_limited_agent_refuses_the_whole_batch(
    embedder: FakeEmbedder, store: InMemoryStore
) -> None:
    service = MemoryService(embedder, store, writes_per_minute=1)
    await service.add([memory("b")])
    with pytest.raises(RateLimited):
        await service.add([memory("b")])
    with pytest.raises(RateLimited):
        await service.add([memory("a"), memory("b")])
    assert await service.count("a", None) == 0


async def test_health_reports_what_is_down(
    service: MemoryService, embedder: FakeEmbedder, store: InMemoryStore
) -> None:
    health = await service.health()
    assert (health.db, health.embedder) == (True, True)
    embedder.down = True
    store.rows.down = True
    health = await service.health()
    assert (health.db, health.embedder) == (False, False)


async def test_service_starts_before_its_database(
    service: MemoryService, store: InMemoryStore
) -> None:
    store.rows.down = True
    with pytest.raises(Unavailable):
        await service.adopt_model()
    store.rows.down = False
    await service.add([memory()])


async def test_number_of_hits_is_observed(embedder: FakeEmbedder, store: InMemoryStore) -> None:
    found: list[int] = []
    service = MemoryService(embedder, store, observe_hits=found.append)
    await service.search(SearchQuery("agent", "user", "q"))
    await service.add([memory(content="q"), memory(content="q")])
    await service.search(SearchQuery("agent", "user", "q"))
    assert found == [0, 2]


async def test_calls_continue_with_the_model_after_a_reembedding(
    service: MemoryService, embedder: FakeEmbedder, store: InMemoryStore
) -> None:
    (stored,) = await service.add([memory(content="a fox")])
    embedder.other_identities.add(OTHER)
    for call in (
        lambda: service.search(SearchQuery("agent", "user", "fox")),
        lambda: service.add([memory(content="a dog")]),
        lambda: service.keyed.add([memory(content="a cow")], WriteKey("key", b"1")),
        lambda: service.update("agent", stored.id, MemoryPatch(content="a cat")),
    ):
        store.rows.switch(IDENTITY)
        store.rows.switch(OTHER)
        await call()
    assert await service.count("agent", None) == 3
    assert (await service.get("agent", stored.id)).content == "a cat"
    embedder.other_identities.clear()
    assert (await service.health()).embedder is False


async def test_change_of_model_counts_one_call_against_the_limit(
    embedder: FakeEmbedder, store: InMemoryStore
) -> None:
    service = MemoryService(embedder, store, writes_per_minute=2)
    embedder.other_identities.add(OTHER)
    await service.add([memory()])
    store.rows.switch(OTHER)
    await service.add([memory()])
    with pytest.raises(RateLimited):
        await service.add([memory()])


async def test_model_without_an_embedder_raises_model_mismatch(
    service: MemoryService, store: InMemoryStore
) -> None:
    await service.add([memory()])
    store.rows.switch(OTHER)
    for _ in range(2):
        with pytest.raises(ModelMismatch):
            await service.search(SearchQuery("agent", "user", "q"))


async def test_new_replica_adopts_the_model_in_use(
    embedder: FakeEmbedder, store: InMemoryStore
) -> None:
    store.rows.switch(OTHER)
    with pytest.raises(ModelMismatch):
        await MemoryService(embedder, store).adopt_model()
    embedder.other_identities.add(OTHER)
    service = MemoryService(embedder, store)
    await service.adopt_model()
    assert (await service.health()).embedder is True
    await service.add([memory()])
