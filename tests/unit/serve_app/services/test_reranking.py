from collections.abc import Sequence

import pytest

from deployments.domain.errors import Unavailable
from deployments.domain.memories import NewMemory
from deployments.domain.ranking import Ranking
from deployments.domain.search import SearchQuery
from deployments.runtime.ids import uuid7
from serve_app.services.memories import MemoryService
from serve_app.services.reranking import Reranking
from tests.support.fakes.embedder import FakeEmbedder
from tests.support.fakes.store import in_memory_store

CONTENTS = ["tea", "tea tea", "tea and cake", "cake", "a boat"]


class LengthReranker:
    """Scores texts by their length."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.calls: list[tuple[str, list[str]]] = []

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        self.calls.append((query, list(texts)))
        if self.error is not None:
            raise self.error
        return [float(len(text)) for text in texts]


@pytest.fixture
def reranker() -> LengthReranker:
    return LengthReranker()


async def search(reranker: LengthReranker, top_k: int, top_n: int) -> tuple[list[str], bool | None]:
    service = MemoryService(FakeEmbedder(), in_memory_store(), reranking=Reranking(reranker, top_n))
    await service.add([NewMemory(uuid7(), "agent", "user", text) for text in CONTENTS])
    ranking = Ranking(1.0, mode="semantic")
    found = await service.search(SearchQuery("agent", "user", "tea", top_k, ranking))
    return [hit.content for hit in found.hits], found.reranked


async def test_best_hits_are_reordered_and_the_rest_follows(reranker: LengthReranker) -> None:
    contents, reranked = await search(reranker, top_k=5, top_n=3)
    assert contents[:3] == ["tea and cake", "tea tea", "tea"]
    assert set(contents[3:]) == {"cake", "a boat"}
    assert reranked is True
    ((query, texts),) = reranker.calls
    assert (query, sorted(texts)) == ("tea", ["tea", "tea and cake", "tea tea"])


async def test_hit_below_top_k_can_rise(reranker: LengthReranker) -> None:
    assert await search(reranker, top_k=1, top_n=3) == (["tea and cake"], True)


@pytest.mark.parametrize("error", [Unavailable("reranker"), RuntimeError("a broken model")])
async def test_failed_reranking_is_skipped_and_reported(
    reranker: LengthReranker, error: Exception
) -> None:
    reranker.error = error
    contents, reranked = await search(reranker, top_k=2, top_n=3)
    assert set(contents) == {"tea", "tea tea"}
    assert reranked is False
