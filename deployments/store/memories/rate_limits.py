"""Rate limits: counts calls, many agents' in one statement, and refuses those over the limit."""

import math
from collections import Counter
from collections.abc import Sequence

from deployments.domain.errors import RateLimited
from deployments.domain.rate_limits import RateLimit
from deployments.store.postgres.pool import Connection
from deployments.store.sql import sql


async def hit_each(
    connection: Connection, calls: Sequence[tuple[str, RateLimit | None]]
) -> list[RateLimited | None]:
    """Count each call, (agent_id, rate limit), in order: its refusal, or None if it is granted. A
    call without a rate limit is neither counted nor refused.

    Committed on its own: inside a write's transaction the rows' locks would make an agent's writes
    wait for each other's commits. (A write under an idempotency key counts inside its transaction,
    so that it counts if and only if it is made; its agent's writes do wait.) A refused call is no
    hit.
    """
    refusals: list[RateLimited | None] = [None] * len(calls)
    for limit in {limit for _, limit in calls if limit is not None}:
        agents = Counter(agent_id for agent_id, its_limit in calls if its_limit == limit)
        grants = await _hit(connection, agents, limit)
        for place, (agent_id, its_limit) in enumerate(calls):
            if its_limit != limit:
                continue
            granted, retry_after_s = grants[agent_id]
            grants[agent_id] = (granted - 1, retry_after_s)
            if granted <= 0:
                refusals[place] = _refusal(agent_id, limit, retry_after_s)
    return refusals


async def hit_one(connection: Connection, agent_id: str, limit: RateLimit | None) -> None:
    """Count one call. Raises RateLimited."""
    (refusal,) = await hit_each(connection, [(agent_id, limit)])
    if refusal is not None:
        raise refusal


async def hit_together(connection: Connection, agent_ids: set[str], limit: RateLimit) -> None:
    """Count one call that several agents make. Raises RateLimited, and then counts it for none."""
    async with connection.transaction():
        grants = await _hit(connection, Counter(agent_ids), limit)
        for agent_id, (granted, retry_after_s) in grants.items():
            if not granted:
                raise _refusal(agent_id, limit, retry_after_s)


async def _hit(
    connection: Connection, agents: Counter[str], limit: RateLimit
) -> dict[str, tuple[int, float]]:
    """For each agent, how many of its calls are granted, and in how many seconds the next will
    be."""
    agent_ids = sorted(agents)  # so that no two statements wait for each other's rows
    rows = await connection.fetch(
        *sql.hit_rate_limits(
            agent_ids=agent_ids,
            calls=[agents[agent_id] for agent_id in agent_ids],
            operation=limit.operation,
            per_minute=limit.per_minute,
        )
    )
    return {row["agent_id"]: (row["granted"], row["retry_after_s"] or 0.0) for row in rows}


def _refusal(agent_id: str, limit: RateLimit, retry_after_s: float) -> RateLimited:
    tenths = math.ceil(max(0.0, retry_after_s) * 10)
    return RateLimited(agent_id, limit.operation, limit.per_minute, tenths / 10)
