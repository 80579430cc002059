"""Plans of searches, lists and counts: which indexes they use."""

import re

import pytest

from deployments.domain.memories import ListFilters, MemoryType
from deployments.domain.ranking import Ranking
from deployments.domain.search import SearchCall, SearchFilters, SearchQuery
from deployments.store.lexical.lexicon import Lexicon
from deployments.store.memories.listing import list_statement
from deployments.store.postgres.pool import Pool
from deployments.store.searches.repository import together
from deployments.store.settings import SearchSettings, StoreSettings
from deployments.store.sql import sql
from deployments.store.store import PostgresStore, build_store
from tests.support.fakes.embedder import DIMENSIONS
from tests.support.postgres.memories import (
    explain,
    explain_search,
    fill,
    prepare_searches,
    put_in_index,
    sentences,
    unit_vectors,
)

_DEFAULT = Ranking()
_NO_FILTERS = SearchFilters()


async def test_searches_lists_and_counts_use_the_indexes_of_scopes(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    for n in range(40):
        await fill(postgres_store, 100, f"user {n}", contents=sentences(100))
    plan = await _plan(postgres_store, "user 3")
    assert "memories_scope" in plan
    assert "Seq Scan on memories" not in plan
    assert "memories_embedding" not in plan

    for include_superseded, index in ((False, "memories_scope"), (True, "memories_superseded")):
        filters = ListFilters(include_superseded=include_superseded)
        user_page = list_statement("agent", "user 3", filters, None, 50)
        plan = await explain(pool, *user_page)
        assert index in plan
        if include_superseded:  # otherwise a sort of superseded memories is planned but never runs
            assert not re.search(r"-> +Sort\b", plan)
        agent_page = list_statement("agent", None, filters, None, 50)
        assert "memories_agent" in await explain(pool, *agent_page)
        counting = sql.count_of_user(
            agent_id="agent", user_id="user 3", include_superseded=include_superseded
        )
        count = await explain(pool, *counting)
        assert "Seq Scan" not in count
        assert index in count
    frequencies = sql.term_frequencies(
        keys=[1, 2, 3],
        agent_ids=["agent"],
        user_ids=["user 3"],
        scope_keys=[1],
        created_after=[None],
        created_before=[None],
        exact_rows=100,
    )
    assert "Seq Scan" not in await explain(pool, *frequencies)


async def test_candidates_of_a_large_scope_can_come_from_the_indexes(pool: Pool) -> None:
    """Sorting is disabled, because a scope in which it is expensive takes minutes to fill."""
    settings = StoreSettings(exact_search_rows=100)
    store = build_store(pool, settings)
    contents = [
        f"{text} {'needle' if n % 500 == 0 else 'hay'}" for n, text in enumerate(sentences(2_000))
    ]
    await fill(store, 2_000, contents=contents)
    await put_in_index(store)
    plan = await _plan(store, "user", sort=False)
    assert "memories_embedding" in plan
    assert "memories_term_keys" in plan


async def test_type_filter_is_a_condition_on_the_index_of_scopes(pool: Pool) -> None:
    settings = StoreSettings(exact_search_rows=100)
    store = build_store(pool, settings)
    memories, _, _ = await fill(store, 2_000)
    await put_in_index(store)
    async with pool.acquire() as connection:
        await connection.execute(
            "update memories set memory_type = 'semantic' where id = any($1)",
            [memory.id for memory in memories[::10]],
        )
        await connection.execute("vacuum analyze memories")
    plan = await _plan(store, "user", filters=SearchFilters(MemoryType.SEMANTIC))
    newest = re.search(r"Index Scan using memories_scope .*\n +Index Cond: (.*)", plan)
    assert newest is not None
    assert "memory_type = 'semantic'" in newest[1]


async def test_scope_that_is_large_by_its_frequencies_is_not_counted(pool: Pool) -> None:
    store = build_store(pool, StoreSettings(exact_search_rows=100))
    await fill(store, 2_000)
    key = Lexicon(SearchSettings()).query("agent", "user", "").scope_key
    async with pool.acquire() as connection:
        for rows, counts in ((100, False), (3_000, True)):
            text, *parameters = sql.term_frequencies(
                keys=[key],
                agent_ids=["agent"],
                user_ids=["user"],
                scope_keys=[key],
                created_after=[None],
                created_before=[None],
                exact_rows=rows,
            )
            plan = await connection.fetch(f"explain (analyze, costs off) {text}", *parameters)
            scan = next(line for (line,) in plan if "memories_scope" in line)
            assert ("never executed" not in scan) == counts


async def _plan(
    store: PostgresStore,
    user: str,
    ranking: Ranking = _DEFAULT,
    filters: SearchFilters = _NO_FILTERS,
    sort: bool = True,
) -> str:
    query = SearchQuery("agent", user, "is there a needle?", ranking=ranking, filters=filters)
    call = SearchCall(query, unit_vectors(1)[0], 1, None)
    return await explain_search(store, call, 2_000, sort=sort)


async def test_searches_in_one_call_use_the_index_of_scopes(pool: Pool) -> None:
    store = build_store(pool, StoreSettings())
    for n in range(20):
        await fill(store, 50, f"user {n}")
    calls = [
        SearchCall(SearchQuery("agent", f"user {n}", "memory 7"), unit_vectors(1)[0], 1, None)
        for n in range(8)
    ]
    searches = await prepare_searches(store, *calls)
    plan = await explain(pool, *together(sql.search_each_weighted, searches))
    assert "memories_scope" in plan
    assert "Seq Scan on memories" not in plan
    assert "WindowAgg" not in plan


@pytest.mark.parametrize("name", ["search_each_weighted", "search_each_by_rank"])
async def test_generic_plan_of_searches_finds_the_best_bm25_once(pool: Pool, name: str) -> None:
    """The plan is made once, before the number of candidates is known. It must not look for the
    best BM25 again for each candidate."""
    store = build_store(pool, StoreSettings())
    for n in range(20):
        await fill(store, 50, f"user {n}")
    lines = await _generic_plan(pool, name)
    aggregate = next(n for n, line in enumerate(lines) if line.endswith("Aggregate"))
    assert lines[aggregate - 1] == "CTE best"
    scan = next(n for n, line in enumerate(lines) if "memories_scope" in line)
    assert "created_at >" in lines[scan + 1]  # the index condition
    assert "created_at <" in lines[scan + 1]


@pytest.mark.parametrize("name", ["search_each_weighted", "search_each_by_rank", "search_large"])
async def test_ranking_functions_are_inlined(pool: Pool, name: str) -> None:
    """A call of an SQL function for each candidate costs more than the formula in it."""
    plan = "\n".join(await _generic_plan(pool, name, "verbose"))
    assert "exp(" in plan
    assert "_v1(" not in plan


async def _generic_plan(pool: Pool, name: str, *options: str) -> list[str]:
    explaining = ", ".join(["generic_plan", "costs off", *options])
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("analyze memories")
        await connection.execute(
            "create function pg_temp.plan(statement text) returns setof text language plpgsql as $$"
            f"begin return query execute 'explain ({explaining}) ' || statement; end $$"
        )
        text = getattr(sql, name).text.replace("{dimensions}", str(DIMENSIONS))
        rows = await connection.fetch("select pg_temp.plan($1) as line", text)
    return [row["line"].strip() for row in rows]
