"""Agents, users and days are found by the index of scopes, however many memories there are."""

import re
from datetime import UTC, datetime, timedelta

from deployments.domain.types import ListFilters
from deployments.store.pool import Pool
from deployments.store.queries import sql
from deployments.store.repository import PostgresMemoryStore
from tests.integration.postgres.data import explain, fill


def most_rows(plan: str) -> int:
    """Of the plan's steps, how many rows the one with the most read."""
    read = re.findall(r"actual rows=([\d.]+) loops=(\d+)", plan)
    removed = re.findall(r"Rows Removed by Filter: (\d+)", plan)
    return max(
        int(float(rows) * int(loops)) for rows, loops in [*read, *((n, "1") for n in removed)]
    )


async def test_finding_ids_reads_a_row_of_each(
    pool: Pool, postgres_store: PostgresMemoryStore
) -> None:
    for user in ("a", "b", "c"):
        await fill(postgres_store, 1_000, user)
    for statement, arguments in (("agents", (None, 51)), ("users", ("agent", None, 51))):
        plan = await explain(pool, sql(statement), *arguments)
        assert "Seq Scan" not in plan
        assert most_rows(plan) <= 4, plan


async def test_counting_stops_and_reads_the_index_alone(
    pool: Pool, postgres_store: PostgresMemoryStore
) -> None:
    await fill(postgres_store, 1_000, "a")
    await fill(postgres_store, 50, "b")
    async with pool.acquire() as connection:
        await connection.execute("vacuum analyze memories")
    for statement, arguments in (
        ("tally_agents", (["agent"], 100)),
        ("tally_users", ("agent", ["a", "b"], 100)),
    ):
        plan = await explain(pool, sql(statement), *arguments)
        assert "Index Only Scan using memories_" in plan
        assert "memories_expires_at" in plan
        assert "Seq Scan" not in plan
        assert most_rows(plan) <= 101 + 50, plan


async def test_a_timeline_reads_its_days_alone(
    pool: Pool, postgres_store: PostgresMemoryStore
) -> None:
    memories, _, _ = await fill(postgres_store, 1_000)
    since = datetime.now(UTC) - timedelta(days=10)
    within = sum(memory.created_at >= since for memory in memories)
    for statement, arguments in (
        ("timeline_of_user", ("agent", "user", since)),
        ("timeline_of_agent", ("agent", since)),
    ):
        for limit, most in ((50_001, within), (20, 20)):
            plan = await explain(pool, sql(statement), *arguments, limit)
            assert "Seq Scan" not in plan
            assert most_rows(plan) == most, plan


async def test_a_listing_by_days_reads_them_alone(
    pool: Pool, postgres_store: PostgresMemoryStore
) -> None:
    await fill(postgres_store, 1_000)
    day = datetime.now(UTC) - timedelta(days=30)
    bounds = (None, day, day + timedelta(hours=2))
    for statement, scope in (("list_of_user", ("agent", "user")), ("list_of_agent", ("agent",))):
        plan = await explain(pool, sql(statement), *scope, None, 51, None, None, *bounds, False)
        assert most_rows(plan) <= 20, plan
        assert not re.search(r"-> +Sort \(actual rows=(?!0)", plan)  # nothing that is there


async def test_what_a_filter_leaves_of_many_is_found_by_its_index(
    pool: Pool, postgres_store: PostgresMemoryStore
) -> None:
    memories, _, _ = await fill(postgres_store, 3_000)
    async with pool.acquire() as connection:
        await connection.execute(
            "update memories set metadata = jsonb_build_object('rare', true) where id = any($1)",
            [memory.id for memory in memories[:3]],
        )
        await connection.execute("analyze memories")
        async with connection.transaction():
            await connection.execute(sql("plan_for_values"))
            rows = await connection.fetch(
                "explain (costs off) " + sql("list_of_user"),
                "agent", "user", None, 51, None, None, {"rare": True}, None, None, False,
            )  # fmt: skip
    assert "memories_metadata" in "\n".join(row[0] for row in rows)
    filters = ListFilters(metadata={"rare": True})
    page = await postgres_store.list_page("agent", "user", None, 50, None, filters=filters)
    assert {memory.id for memory in page.memories} == {memory.id for memory in memories[:3]}
