"""The Searches port of every store: ranking, filters, `as_of`."""

from datetime import UTC, datetime, timedelta

import pytest

from deployments.domain.memories import (
    MemoryPatch,
    MemoryType,
    PageKey,
)
from deployments.domain.metadata_filters import parse_filter
from deployments.domain.ranking import Fusion, Ranking, SearchMode
from deployments.domain.search import SearchFilters
from deployments.runtime.ids import uuid7
from tests.support.contract import Scope
from tests.support.fakes.embedder import embed_words

NOW = datetime.now(UTC)


async def test_semantic_mode_ranks_by_meaning(scope: Scope) -> None:
    await scope.add("green tea please", "the deploy failed", "red green blue")
    hits = await scope.search("green tea", ranking=Ranking(alpha=1.0, mode="semantic"))
    assert [hit.content for hit in hits] == [
        "green tea please",
        "red green blue",
        "the deploy failed",
    ]
    assert hits[0].score == round(
        float(embed_words("green tea") @ embed_words("green tea please")), 4
    )


@pytest.mark.parametrize("query", ["anything", "aged 3", "the"])
@pytest.mark.parametrize("mode", ["hybrid", "semantic", "lexical"])
@pytest.mark.parametrize("fusion", ["weighted", "rrf"])
async def test_alpha_zero_ranks_newest_first(
    scope: Scope, query: str, mode: SearchMode, fusion: Fusion
) -> None:
    for age in (5, 1, 9, 0, 3):
        await scope.add(f"aged {age}", created_at=NOW - timedelta(days=age))
    hits = await scope.search(query, ranking=Ranking(alpha=0.0, mode=mode, fusion=fusion))
    assert [hit.content for hit in hits] == [f"aged {age}" for age in (0, 1, 3, 5, 9)]


async def test_hybrid_and_lexical_modes_rank_by_terms(scope: Scope) -> None:
    contents = ["the deploy failed with ERR_4032", "a deploy went well", "tea deploy deploy deploy"]
    await scope.add(*contents)
    modes: tuple[SearchMode, ...] = ("hybrid", "lexical")
    for mode in modes:
        hits = await scope.search("which one was err_4032?", ranking=Ranking(1.0, mode=mode))
        assert hits[0].content == contents[0]
    lexical = await scope.search("ERR_4032 deploy", ranking=Ranking(1.0, mode="lexical"))
    assert lexical[0].content == contents[0]
    assert lexical[0].score == 1.0


async def test_query_without_known_terms_ranks_by_meaning_only(scope: Scope) -> None:
    await scope.add("green tea please", "red green blue")
    for query in ("unheard", "the of who", "?! 🎉"):
        semantic = await scope.search(query, ranking=Ranking(1.0, mode="semantic"))
        for ranking in (
            Ranking(1.0, mode="hybrid", fusion="weighted"),
            Ranking(1.0, mode="hybrid", fusion="rrf"),
            Ranking(1.0, mode="lexical"),
        ):
            hits = await scope.search(query, ranking=ranking)
            assert [(h.id, h.score) for h in hits] == [(h.id, h.score) for h in semantic]


async def test_changed_content_is_found_by_its_new_terms_only(scope: Scope) -> None:
    (memory, _) = await scope.add("the parrot sleeps", "nothing of it")
    lexical = Ranking(1.0, mode="lexical")
    patch = MemoryPatch(content="an owl wakes")
    await scope.store.memories.update(
        "agent", memory.id, patch, embed_words("an owl wakes"), 1, None
    )
    hits = await scope.search("owl", ranking=lexical)
    assert (hits[0].content, hits[0].score) == ("an owl wakes", 1.0)
    hits = await scope.search("parrot", ranking=lexical)
    assert all(hit.score is not None and hit.score < 1 for hit in hits)


async def test_recency_is_one_half_after_one_half_life(scope: Scope) -> None:
    await scope.add("old", created_at=datetime.now(UTC) - timedelta(days=10))
    (hit,) = await scope.search("x", ranking=Ranking(alpha=0.0, half_life_days=10.0))
    assert hit.score == pytest.approx(0.5, abs=1e-4)


async def test_as_of_excludes_later_memories_and_ages_from_that_time(scope: Scope) -> None:
    for age_days in (0, 10, 20):
        await scope.add(f"aged {age_days}", created_at=NOW - timedelta(days=age_days))
    ranking, then = Ranking(alpha=0.0, half_life_days=10.0), NOW - timedelta(days=10)
    hits = await scope.search("x", ranking=ranking, as_of=then)
    assert [(hit.content, hit.score) for hit in hits] == [("aged 10", 1.0), ("aged 20", 0.5)]
    hits = await scope.search("x", ranking=ranking, as_of=NOW + timedelta(days=10))
    assert [hit.score for hit in hits] == [0.5, 0.25, 0.125]


async def test_recency_of_a_memory_from_the_future_is_one(scope: Scope) -> None:
    await scope.add("ahead", created_at=datetime.now(UTC) + timedelta(minutes=4))
    (hit,) = await scope.search("x", ranking=Ranking(alpha=0.0, half_life_days=0.001))
    assert hit.score == 1.0


@pytest.mark.parametrize("half_life_days", [5e-324, 1e-300, 1e-9, 0.001, 1e6])
@pytest.mark.parametrize("year", [1, 2, 2020])
async def test_extreme_ages_and_half_lives_give_a_valid_score(
    scope: Scope, half_life_days: float, year: int
) -> None:
    created_at = datetime(year, 1, 1, tzinfo=UTC)
    await scope.add("old", created_at=created_at)
    ranking = Ranking(alpha=0.0, half_life_days=half_life_days)
    (hit,) = await scope.search("x", ranking=ranking)
    assert hit.score is not None
    assert 0 <= hit.score < 1
    assert hit.created_at == created_at
    page = await scope.store.memories.list_page(
        "agent", "user", page_size=1, after=PageKey(NOW, uuid7())
    )
    assert [memory.created_at for memory in page.memories] == [created_at]


async def test_importance_adds_to_the_score(scope: Scope) -> None:
    await scope.add("same words", importance=0.0)
    await scope.add("same words", importance=2.0)
    ranking = Ranking(alpha=1.0, importance_weight=0.5)
    high, low = await scope.search("same words", ranking=ranking)
    assert (high.importance, low.importance) == (2.0, 0.0)
    assert high.score == pytest.approx(1.5, abs=1e-4)
    assert low.score == pytest.approx(1.0, abs=1e-4)


async def test_equal_scores_are_ordered_by_time_then_id(scope: Scope) -> None:
    older = await scope.add("tie", created_at=NOW - timedelta(days=1))
    same = await scope.add("tie", "tie", created_at=NOW)
    hits = await scope.search("tie", ranking=Ranking(alpha=1.0))
    by_id = sorted((memory.id for memory in same), reverse=True)
    assert [hit.id for hit in hits] == [*by_id, older[0].id]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (SearchFilters(memory_type=MemoryType.PROCEDURAL), {"c"}),
        (SearchFilters(metadata=parse_filter({"project": "x"})), {"a", "b"}),
        (SearchFilters(metadata=parse_filter({"project": "x", "tags": ["new"]})), {"b"}),
        (SearchFilters(metadata=parse_filter({})), {"a", "b", "c"}),
        (SearchFilters(created_after=NOW - timedelta(days=2)), {"b", "c"}),
        (SearchFilters(created_before=NOW - timedelta(days=2)), {"a"}),
        (SearchFilters(created_after=NOW - timedelta(days=1)), {"b", "c"}),
        (SearchFilters(created_before=NOW - timedelta(days=1)), {"a"}),
        (SearchFilters(created_after=NOW, created_before=NOW), set()),
        (SearchFilters(min_score=2.0), set()),
    ],
)
async def test_search_filters_by_type_metadata_time_and_score(
    scope: Scope, filters: SearchFilters, expected: set[str]
) -> None:
    await scope.add("a", metadata={"project": "x"}, created_at=NOW - timedelta(days=3))
    await scope.add(
        "b", metadata={"project": "x", "tags": ["old", "new"]}, created_at=NOW - timedelta(days=1)
    )
    await scope.add("c", memory_type=MemoryType.PROCEDURAL, created_at=NOW)
    assert {hit.content for hit in await scope.search("q", filters=filters)} == expected


async def test_min_score_compares_with_the_rounded_score(scope: Scope) -> None:
    await scope.add("alpha beta", "gamma")
    best, _ = await scope.search("alpha", ranking=Ranking(alpha=1.0))
    assert best.score is not None
    filters = SearchFilters(min_score=best.score)
    assert [h.id for h in await scope.search("alpha", ranking=Ranking(1.0), filters=filters)] == [
        best.id
    ]


async def test_search_returns_at_most_top_k_hits(scope: Scope) -> None:
    await scope.add(*(f"m {n}" for n in range(20)))
    assert len(await scope.search("m", top_k=7)) == 7


@pytest.mark.parametrize(
    ("contents", "query", "matched"),
    [
        (["서울에서 예약을 했다.", "부산으로 출장을 간다."], "서울", ["서울"]),
        (["我家的猫叫小白。", "他每天早上喝茶。"], "猫", ["猫"]),
        (["Mara sent ❤️ back", "The ☎ rings"], "❤", ["❤"]),
        (["Lena writes games in C++", "Lena writes kernels in C"], "C++", ["c++"]),
        (["We saw The Who live", "Who left the door open"], "the who", ["the", "who"]),
        (["Ask Will for a key", "Ben will find a key"], 'key of "Will"', ["key", "will"]),
    ],
)
async def test_words_of_every_notation_are_found_and_explained(
    scope: Scope, contents: list[str], query: str, matched: list[str]
) -> None:
    await scope.add(*contents)
    ranking = Ranking(1.0, mode="lexical")
    hits = await scope.search(query, ranking=ranking, explain=True)
    assert (hits[0].content, hits[0].score) == (contents[0], 1.0)
    assert hits[0].explanation is not None
    assert hits[0].explanation.matched_terms == matched
