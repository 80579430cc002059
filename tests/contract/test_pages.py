"""The Searches port of every store: near-copies, long queries in chunks, and `min_similarity`."""

import pytest

from deployments.domain.memories import Memory
from deployments.domain.metadata_filters import parse_filter
from deployments.domain.ranking import Ranking, SearchMode
from deployments.domain.search import SearchFilters
from tests.support.contract import Scope

COPY = "the deploy window is tuesday at nine"
NEAR_COPY = "the deploy window is tuesday at ten"
OTHER = "deploys need two approvals from the platform team"
FAR = "ana likes tea"
QUERY = "deploy window tuesday the platform"
RANKINGS = [Ranking(1.0), Ranking(1.0, mode="semantic"), Ranking(1.0, fusion="rrf"), Ranking()]


def contents(hits: list[Memory]) -> list[str]:
    return [hit.content for hit in hits]


@pytest.mark.parametrize("ranking", RANKINGS)
async def test_copies_do_not_fill_the_page(scope: Scope, ranking: Ranking) -> None:
    await scope.add(OTHER, *[COPY] * 30, *(f"unrelated note {n}" for n in range(60)))
    hits = await scope.search(QUERY, top_k=5, ranking=ranking)
    assert len(hits) == 5
    assert contents(hits)[0] == COPY
    assert OTHER in contents(hits)
    assert contents(await scope.search(QUERY, top_k=5, ranking=ranking, diversity=0)) == [COPY] * 5


async def test_full_diversity_puts_copies_after_all_others(scope: Scope) -> None:
    await scope.add(*[COPY] * 60, FAR, OTHER)
    hits = await scope.search(COPY, top_k=4, ranking=Ranking(1.0), diversity=1.0)
    assert set(contents(hits)[:3]) == {COPY, OTHER, FAR}
    assert contents(hits)[3] == COPY


async def test_page_is_filled_with_copies_if_there_is_nothing_else(scope: Scope) -> None:
    await scope.add(*[COPY] * 12)
    assert contents(await scope.search(QUERY, top_k=10)) == [COPY] * 10


async def test_scores_are_those_without_diversity(scope: Scope) -> None:
    await scope.add(*[COPY] * 6, NEAR_COPY, OTHER, FAR)
    ranking = Ranking(1.0)
    plain = await scope.search(QUERY, ranking=ranking, diversity=0)
    diverse = await scope.search(QUERY, ranking=ranking, diversity=0.3)
    assert {(hit.id, hit.score) for hit in diverse} == {(hit.id, hit.score) for hit in plain}
    assert contents(plain)[:7] == [COPY] * 6 + [NEAR_COPY]
    assert contents(diverse)[:4] == [COPY, NEAR_COPY, OTHER, COPY]
    assert [hit.score for hit in diverse] != [hit.score for hit in plain]


async def test_explanations_name_near_copies_and_marginal_scores(scope: Scope) -> None:
    copies = await scope.add(COPY, COPY)
    await scope.add(OTHER)
    hits = await scope.search(QUERY, ranking=Ranking(1.0), explain=True, diversity=0.2)
    ids = {memory.id for memory in copies}
    first = next(hit for hit in hits if hit.id in ids)
    for hit in hits:
        assert hit.explanation is not None
        assert hit.score is not None
        expected = ids - {hit.id} if hit.id in ids else set()
        assert set(hit.explanation.similar_ids) == expected
        assert hit.explanation.chunk is None
        penalty = 0.2 if hit.id in ids and hit.id != first.id else 0
        assert hit.explanation.marginal_score == pytest.approx(hit.score - penalty, abs=1e-4)
    for hit in await scope.search(QUERY, explain=True, diversity=0):
        assert hit.explanation is not None
        assert hit.explanation.marginal_score is None
        assert hit.explanation.similar_ids == []


async def test_end_of_a_long_query_is_searched_as_well_as_its_beginning(scope: Scope) -> None:
    logs = [f"printer log {number} repeats the same line" for number in range(12)]
    await scope.add(*logs, "the harbour gate opens with the word lantern", "a cake needs flour")
    chunks = ("a cake for ana", "the printer log repeats the same line", "which word opens harbour")
    hits = await scope.search(" ".join(chunks), chunks=chunks, top_k=5, explain=True)
    assert len(hits) == 5
    by_content = {hit.content: hit for hit in hits}
    for content, chunk in (
        ("the harbour gate opens with the word lantern", chunks[2]),
        ("a cake needs flour", chunks[0]),
    ):
        explained = by_content[content].explanation
        assert explained is not None
        assert explained.chunk == chunk


async def test_memory_that_several_chunks_find_is_one_hit_with_its_best_score(scope: Scope) -> None:
    await scope.add("green tea", "red wine")
    ranking = Ranking(1.0, mode="semantic")
    (single,) = [h for h in await scope.search("green tea", ranking=ranking) if "tea" in h.content]
    chunks = ("red wine", "green", "green tea")
    hits = await scope.search("…", chunks=chunks, ranking=ranking)
    assert sorted(contents(hits)) == ["green tea", "red wine"]
    assert {hit.content: hit.score for hit in hits}["green tea"] == single.score


async def test_rare_word_at_the_end_is_found_by_words(scope: Scope) -> None:
    await scope.add(*(f"note {number} of the log" for number in range(20)), "lantern_42 is open")
    chunks = ("the log has a note " * 5, "what about lantern_42")
    modes: tuple[SearchMode, ...] = ("hybrid", "lexical")
    for mode in modes:
        hits = await scope.search("…", chunks=chunks, top_k=3, ranking=Ranking(1.0, mode=mode))
        assert "lantern_42 is open" in contents(hits)


async def test_chunks_respect_filters_and_scope(scope: Scope) -> None:
    await scope.add("green tea", metadata={"kind": "drink"})
    await scope.add("green paint")
    other = Scope(scope.store, scope.generation, "agent", "another user")
    await other.add("green tea")
    filters = SearchFilters(metadata=parse_filter({"kind": "drink"}))
    hits = await scope.search("…", chunks=("green", "tea"), filters=filters)
    assert [(hit.content, hit.user_id) for hit in hits] == [("green tea", "user")]


async def test_min_similarity_drops_what_is_related_neither_by_meaning_nor_by_words(
    scope: Scope,
) -> None:
    await scope.add("green tea", "the harbour gate", "a long note about lantern_42 and much else")
    floor = SearchFilters(min_similarity=0.3)
    assert contents(await scope.search("green tea", filters=floor)) == ["green tea"]
    assert contents(await scope.search("lantern_42", filters=floor)) == [
        "a long note about lantern_42 and much else"
    ]
    for query in ("quantum chromodynamics", "?!"):
        assert await scope.search(query, filters=floor) == []
    semantic = Ranking(mode="semantic")
    assert await scope.search("gates", filters=floor, ranking=semantic) == []
    assert contents(await scope.search("gates", filters=floor)) == ["the harbour gate"]


async def test_shared_common_word_alone_is_not_related(scope: Scope) -> None:
    """Its lexical similarity would be 1, because no other memory has a word of the query."""
    await scope.add("ana drinks tea every day", *(f"unrelated note {n}" for n in range(5)))
    query = "which enzymes unwind strands during replication every morning"
    (best, *_) = await scope.search(query, ranking=Ranking(1.0, mode="lexical"))
    assert best.score == 1
    assert await scope.search(query, filters=SearchFilters(min_similarity=0.4)) == []
