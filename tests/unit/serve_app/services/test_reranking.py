from collections.abc import Sequence

import pytest

from deployments.domain.errors import Unavailable
from deployments.domain.memories import NewMemory
from deployments.domain.ranking import Ranking
from deployments.domain.search import SearchQuery
from deployments.runtime.ids import uuid7
from serve_app.services.memories import MemoryService
from serve_app.services.reranking import Reranking, SearchResult
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


async def search(
    reranker: LengthReranker,
    top_k: int,
    top_n: int,
    *,
    contents: Sequence[str] = CONTENTS,
    text: str = "tea",
    diversity: float = 0.0,
    explain: bool = False,
) -> SearchResult:
    service = MemoryService(FakeEmbedder(), in_memory_store(), reranking=Reranking(reranker, top_n))
    await service.add([NewMemory(uuid7(), "agent", "user", content) for content in contents])
    ranking = Ranking(1.0, mode="semantic")
    return await service.search(
        SearchQuery("agent", "user", text, top_k, ranking, explain=explain, diversity=diversity)
    )


def contents_of(found: SearchResult) -> list[str]:
    return [hit.content for hit in found.hits]


async def test_best_hits_are_reordered_and_the_rest_follows(reranker: LengthReranker) -> None:
    found = await search(reranker, top_k=5, top_n=3)
    contents = contents_of(found)
    assert contents[:3] == ["tea and cake", "tea tea", "tea"]
    assert set(contents[3:]) == {"cake", "a boat"}
    assert found.reranked is True
    ((query, texts),) = reranker.calls
    assert (query, sorted(texts)) == ("tea", ["tea", "tea and cake", "tea tea"])


async def test_hit_below_top_k_can_rise(reranker: LengthReranker) -> None:
    found = await search(reranker, top_k=1, top_n=3)
    assert (contents_of(found), found.reranked) == (["tea and cake"], True)


@pytest.mark.parametrize("error", [Unavailable("reranker"), RuntimeError("a broken model")])
async def test_failed_reranking_is_skipped_and_reported(
    reranker: LengthReranker, error: Exception
) -> None:
    reranker.error = error
    found = await search(reranker, top_k=2, top_n=3)
    assert set(contents_of(found)) == {"tea", "tea tea"}
    assert found.reranked is False


@pytest.mark.parametrize("explain", [False, True])
async def test_copies_do_not_rise_above_other_hits(reranker: LengthReranker, explain: bool) -> None:
    contents = [*["tea and the longest cake"] * 6, "tea and cake", "tea"]
    found = await search(
        reranker, 3, 20, contents=contents, text="tea and cake", diversity=0.1, explain=explain
    )
    assert contents_of(found) == ["tea and the longest cake", "tea and cake", "tea"]
    assert all((hit.explanation is not None) is explain for hit in found.hits)


async def test_hits_of_a_long_query_keep_their_order(reranker: LengthReranker) -> None:
    found = await search(reranker, 5, 20, text="tea with cake. " * 60 + "where is a boat?")
    assert len(found.hits) == 5
    assert found.reranked is False
    assert reranker.calls == []
