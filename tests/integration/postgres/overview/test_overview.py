"""Plans of the overview's statements and of filtered lists: what they read."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from deployments.domain.memories import ListFilters
from deployments.domain.metadata_filters import parse_filter
from deployments.store.memories.listing import list_statement
from deployments.store.postgres.pool import Pool
from deployments.store.sql import sql
from deployments.store.store import PostgresStore
from tests.support.postgres.memories import explain, fill


def most_rows(plan: str) -> int:
    """The largest number of rows that any step of the plan read or filtered out."""
    read = re.findall(r"actual rows=([\d.]+) loops=(\d+)", plan)
    removed = re.findall(r"Rows Removed by Filter: (\d+)", plan)
    return max(
        int(float(rows) * int(loops)) for rows, loops in [*read, *((n, "1") for n in removed)]
    )


async def test_listing_agents_or_users_reads_one_row_of_each(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    for user in ("a", "b", "c"):
        await fill(postgres_store, 1_000, user)
    for statement in (
        sql.agents(after=None, max_rows=51),
        sql.users(agent_id="agent", after=None, max_rows=51),
    ):
        plan = await explain(pool, *statement)
        assert "Seq Scan" not in plan
        assert most_rows(plan) <= 4, plan


async def test_tally_stops_at_its_bound_and_reads_only_the_index(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    await fill(postgres_store, 1_000, "a")
    await fill(postgres_store, 50, "b")
    async with pool.acquire() as connection:
        await connection.execute("vacuum analyze memories")
    for statement in (
        sql.tally_agents(agent_ids=["agent"], max_counted=100),
        sql.tally_users(agent_id="agent", user_ids=["a", "b"], max_counted=100),
    ):
        plan = await explain(pool, *statement)
        assert "Index Only Scan using memories_" in plan
        assert "memories_expires_at" in plan
        assert "Seq Scan" not in plan
        assert most_rows(plan) <= 101 + 50, plan


async def test_timeline_reads_only_memories_of_its_days(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    memories, _, _ = await fill(postgres_store, 1_000)
    since = datetime.now(UTC) - timedelta(days=10)
    within = sum(memory.created_at >= since for memory in memories)
    for limit, most in ((50_001, within), (20, 20)):
        values = {"agent_id": "agent", "since": since, "max_counted": limit}
        for statement in (
            sql.timeline_of_user(**values, user_id="user"),
            sql.timeline_of_agent(**values),
        ):
            plan = await explain(pool, *statement)
            assert "Seq Scan" not in plan
            assert most_rows(plan) == most, plan


async def test_list_of_a_time_range_reads_only_that_range(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    await fill(postgres_store, 1_000)
    day = datetime.now(UTC) - timedelta(days=30)
    filters = ListFilters(created_after=day, created_before=day + timedelta(hours=2))
    for user in ("user", None):
        plan = await explain(pool, *list_statement("agent", user, filters, None, 51))
        assert most_rows(plan) <= 20, plan
        assert not re.search(r"-> +Sort \(actual rows=(?!0)", plan)  # no step sorts any rows


async def test_list_with_a_selective_filter_uses_the_metadata_index(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    memories, _, _ = await fill(postgres_store, 3_000)
    rare = {"rare": True, "n": 1.5, "tags": ["new", "rare"], "of": {"rare": True}}
    async with pool.acquire() as connection:
        await connection.execute(
            "update memories set metadata = $2 where id = any($1)",
            [memory.id for memory in memories[:3]],
            rare,
        )
        await connection.execute("analyze memories")
    values: tuple[dict[str, Any], ...] = (
        {"rare": True},
        {"rare": {"$eq": True}, "n": {"$gte": 0}},
        {"rare": {"$in": [True, "yes"]}},
        {"tags": "rare"},
        {"tags": ["rare", "new"], "even": {"$exists": False}},
        {"of": {"rare": True, "n": {"$ne": 1}}},
        {"$and": [{"rare": True}, {"$not": {"even": False}}]},
        {"$or": [{"rare": True}, {"tags": "new", "n": {"$gte": 0}}]},
    )
    for value in values:
        filters = ListFilters(metadata=parse_filter(value))
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(*sql.plan_for_values())
            text, *parameters = list_statement("agent", "user", filters, None, 51)
            rows = await connection.fetch(f"explain (costs off) {text}", *parameters)
        assert "memories_metadata" in "\n".join(row[0] for row in rows), value
        page = await postgres_store.memories.list_page(
            "agent", "user", page_size=50, filters=filters
        )
        assert {memory.id for memory in page.memories} == {memory.id for memory in memories[:3]}
