"""Searches in Postgres: scores, explanations, several searches in one call, odd queries."""

import itertools
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from deployments.domain.errors import RateLimited
from deployments.domain.memories import MemoryType, NewMemory
from deployments.domain.metadata_filters import parse_filter
from deployments.domain.ranking import Ranking
from deployments.domain.rate_limits import RateLimit
from deployments.domain.search import Deferred, SearchCall, SearchFilters, SearchQuery
from deployments.store.postgres.pool import Pool
from deployments.store.settings import StoreSettings
from deployments.store.store import PostgresStore, build_store
from tests.support.fakes.store import in_memory_store
from tests.support.postgres.memories import (
    RANKINGS,
    fill,
    put_in_index,
    sentences,
    unit_vectors,
    word,
)


async def test_scores_equal_those_of_the_in_memory_store(postgres_store: PostgresStore) -> None:
    """The in-memory store applies the formula to each memory's terms, without keys or weights."""
    contents = sentences(300)
    memories, vectors, generation = await fill(postgres_store, 300, contents=contents)
    reference = in_memory_store()
    await reference.inserts.insert(
        [
            NewMemory(
                m.id, m.agent_id, m.user_id, m.content, m.importance, m.memory_type, m.metadata,
                m.created_at,
            )
            for m in memories
        ],
        vectors,
        1,
        None,
    )  # fmt: skip
    as_of = datetime.now(UTC) - timedelta(hours=100)
    for text, vector in zip(sentences(6, words=5), unit_vectors(6), strict=True):
        for ranking in RANKINGS:
            for filters in (SearchFilters(), SearchFilters(metadata=parse_filter({"even": True}))):
                query = SearchQuery("agent", "user", text, 50, ranking, filters, as_of)
                hits = await postgres_store.searches.search(query, vector, generation, None)
                expected = await reference.searches.search(query, vector, generation, None)
                assert [hit.score for hit in hits] == pytest.approx(
                    [hit.score for hit in expected], abs=1.1e-4
                )
                scores = {hit.id: hit.score for hit in expected}
                assert all(
                    hit.score == pytest.approx(scores.get(hit.id, hit.score), abs=1.1e-4)
                    for hit in hits
                )
                assert len(scores.keys() & {hit.id for hit in hits}) >= 48  # the last may be ties


@pytest.mark.parametrize("ranking", RANKINGS)
async def test_explained_parts_add_up_to_the_score(
    postgres_store: PostgresStore, ranking: Ranking
) -> None:
    contents = [*sentences(60), "a needle in the haystack"]
    _, _, generation = await fill(postgres_store, 61, contents=contents)
    for text in (f"needle {word(4)} {word(7)}", "nothing that is there", "..."):
        query = SearchQuery("agent", "user", text, 50, ranking, explain=True)
        hits = await postgres_store.searches.search(query, unit_vectors(1)[0], generation, None)
        assert len(hits) == 50
        for hit in hits:
            parts = hit.explanation
            assert parts is not None
            assert hit.score == pytest.approx(
                parts.weights.similarity * parts.similarity
                + parts.weights.recency * parts.recency
                + parts.weights.importance * parts.importance,
                abs=0.51e-4,
            )
            assert parts.recency == pytest.approx(0.5 ** (parts.age_days / ranking.half_life_days))
            assert parts.importance == hit.importance / 2
            assert (parts.lexical > 0) == (bool(parts.matched_terms) and ranking.mode != "semantic")
            if parts.weights.cosine is None:
                assert parts.cosine_rank is not None
                lexical = 1 / (60 + parts.lexical_rank) if parts.lexical_rank else 0
                expected = 30.5 * (1 / (60 + parts.cosine_rank) + lexical)
            else:
                assert parts.weights.lexical is not None
                assert parts.weights.cosine + parts.weights.lexical == pytest.approx(1)
                expected = (
                    parts.weights.cosine * parts.cosine + parts.weights.lexical * parts.lexical
                )
            assert parts.similarity == pytest.approx(expected)
    unexplained = await postgres_store.searches.search(
        replace(query, explain=False), unit_vectors(1)[0], generation, None
    )
    assert all(hit.explanation is None for hit in unexplained)


@pytest.mark.parametrize(
    "as_of", [None, datetime(1, 1, 2, tzinfo=UTC), datetime(300, 1, 1, tzinfo=UTC)]
)
@pytest.mark.parametrize("half_life_days", [1e-6, 30.0, 36_000.0, 1e6])
async def test_search_of_a_large_scope_accepts_any_half_life_and_time(
    pool: Pool, half_life_days: float, as_of: datetime | None
) -> None:
    store = build_store(pool, StoreSettings(exact_search_rows=0))
    _, vectors, generation = await fill(store, 20)
    await put_in_index(store)
    for alpha in (0.0, 1e-9, 0.5, 1 - 1e-9, 1.0):
        query = SearchQuery("agent", "user", "q", 5, Ranking(alpha, half_life_days), as_of=as_of)
        hits = await store.searches.search(query, vectors[0], generation, None)
        assert len(hits) == (5 if as_of is None else 0)


async def test_searches_in_one_call_have_the_hits_of_single_searches(pool: Pool) -> None:
    """Except those of larger scopes, which are deferred to a call of their own."""
    store = build_store(pool, StoreSettings(exact_search_rows=2_500))
    for user, count in (("small", 80), ("larger", 2_100), ("large", 2_600), ("other", 30)):
        _, _, generation = await fill(store, count, user, contents=sentences(count))
    as_of = datetime.now(UTC) + timedelta(seconds=1)
    filters = [
        SearchFilters(),
        SearchFilters(metadata=parse_filter({"even": True})),
        SearchFilters(min_score=0.3, memory_type=MemoryType.EPISODIC),
        SearchFilters(created_after=as_of - timedelta(days=30), created_before=as_of),
    ]
    calls = [
        SearchCall(
            SearchQuery(
                "agent", user, text, 3 + number, RANKINGS[number], filter_, as_of, number % 2 == 0
            ),
            vector,
            generation,
            None,
        )
        for (number, (text, vector)), filter_ in itertools.product(
            enumerate(zip(sentences(8, words=5), unit_vectors(8), strict=True)), filters
        )
        for user in ("small", "larger", "large", "other", "nobody")
    ]
    results = await store.searches.search_each(calls)
    for call, result in zip(calls, results, strict=True):
        (single,) = await store.searches.search_each([call])
        if call.query.user_id in ("larger", "large") and not call.query.filters.created_after:
            assert isinstance(result, Deferred)
            assert single
        else:
            assert result == single
    assert sum(bool(result) for result in results) > 40
    assert await store.searches.search_each([]) == []


async def test_searches_in_one_call_are_rate_limited_separately(
    postgres_store: PostgresStore,
) -> None:
    memories, vectors, generation = await fill(postgres_store, 5)
    query = SearchQuery("agent", "user", memories[0].content)
    call = SearchCall(query, vectors[0], generation, RateLimit("search", 2))
    results = await postgres_store.searches.search_each(
        [call, replace(call, rate_limit=None), call, call]
    )
    assert [isinstance(result, RateLimited) for result in results] == [False, False, False, True]
    assert results[0] == results[1] == results[2]


def odd_queries(count: int) -> list[str]:
    """Texts of Unicode, code, quotes, operators or only stop words, up to 2,000 characters."""
    rng = random.Random(11)
    alphabets = [
        "the of and is who are you",
        "abcdefghijklmnopqrstuvwxyz     ",
        "ABCabc_-./\\:@#0123456789(){}[];=<>!&|",
        "'\"`$%*+?^~,;--/**/ or 1=1",
        "äöüßéñçøåœıİſﬁ",
        "中文日本語한국어ไทยहिन्दीעבריתالعربية",
        "🎉👩\u200d💻\ufe0f\u0301\u202e\u2028\x01\x7f\ud7ff\ue000𝒳",
    ]
    words = ["SELECT", "NEAR", "AND", "OR", "NOT", "main.py", "http://x.y/z?q=1&r=%20", "{}", "''"]
    queries = []
    for n in range(count):
        length = rng.choice([1, 2, 10, 60, 400]) if n % 50 else 2_000
        text = "".join(rng.choices(rng.choice(alphabets) + rng.choice(alphabets), k=length))
        queries.append((rng.choice(words) + text)[:2_000] if n % 3 == 0 else text)
    return queries


async def test_any_query_text_has_hits_with_finite_scores(postgres_store: PostgresStore) -> None:
    texts = odd_queries(2_000)
    _, _, generation = await fill(postgres_store, 200, contents=[*texts[:100], *sentences(100)])
    vectors = unit_vectors(len(texts))
    modes = [Ranking(), Ranking(mode="lexical"), Ranking(fusion="rrf"), Ranking(mode="semantic")]
    unmatched = 0
    for n, (text, vector) in enumerate(zip(texts, vectors, strict=True)):
        query = SearchQuery("agent", "user", text, 10, modes[n % 4], explain=True)
        hits = await postgres_store.searches.search(query, vector, generation, None)
        assert len(hits) == 10
        scores = [hit.score for hit in hits if hit.score is not None and np.isfinite(hit.score)]
        assert scores == sorted(scores, reverse=True)
        assert len(scores) == 10
        if hits[0].explanation and hits[0].explanation.weights.cosine == 1 and n % 4 < 3:
            assert not any(hit.explanation.matched_terms for hit in hits if hit.explanation)
            unmatched += 1
            semantic = replace(query, ranking=Ranking(mode="semantic"))
            expected = await postgres_store.searches.search(semantic, vector, generation, None)
            assert [(h.id, h.score) for h in hits] == [(h.id, h.score) for h in expected]
    assert 100 < unmatched < 1_900
