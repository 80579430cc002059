"""Rate limits: counts calls, many agents' in one statement, and says who is over the limit."""

import math
from collections import Counter
from collections.abc import Sequence

from deployments.domain.errors import RateLimited
from deployments.domain.types import RateLimit
from deployments.store.pool import Connection
from deployments.store.queries import sql


async def hit_each(
    connection: Connection, calls: Sequence[tuple[str, RateLimit | None]]
) -> list[RateLimited | None]:
    """Counts each call, (agent_id, limit), in order: its refusal, if it is refused. One without a
    limit is neither counted nor refused.

    Committed on its own: inside a write's transaction the rows' locks would make an agent's writes
    wait for one another's commits. (One under an idempotency key has it inside, so that it counts
    if and only if it is made; its agent's writes do wait.) A refused call is no hit.
    """
    refused: list[RateLimited | None] = [None] * len(calls)
    for limit in {limit for _, limit in calls if limit is not None}:
        agents = Counter(agent_id for agent_id, its in calls if its == limit)
        left = await _hit(connection, agents, limit)
        for place, (agent_id, its) in enumerate(calls):
            if its != limit:
                continue
            granted, retry_after_s = left[agent_id]
            left[agent_id] = (granted - 1, retry_after_s)
            if granted <= 0:
                refused[place] = _refusal(agent_id, limit, retry_after_s)
    return refused


async def hit_together(connection: Connection, agent_ids: set[str], limit: RateLimit) -> None:
    """Counts one call that is several agents'. Raises RateLimited, and then counts it for none."""
    async with connection.transaction():
        for agent_id, (granted, retry_after_s) in (
            await _hit(connection, Counter(agent_ids), limit)
        ).items():
            if not granted:
                raise _refusal(agent_id, limit, retry_after_s)


async def _hit(
    connection: Connection, agents: Counter[str], limit: RateLimit
) -> dict[str, tuple[int, float]]:
    """For each agent, how many of its calls are let through, and when the next one will be."""
    ids = sorted(agents)  # so that no two statements wait for each other's rows
    rows = await connection.fetch(
        sql("hit_rate_limits"), ids, [agents[id_] for id_ in ids], limit.operation, limit.per_minute
    )
    return {row["agent_id"]: (row["granted"], row["retry_after_s"] or 0.0) for row in rows}


def _refusal(agent_id: str, limit: RateLimit, retry_after_s: float) -> RateLimited:
    tenths = math.ceil(max(0.0, retry_after_s) * 10)
    return RateLimited(agent_id, limit.operation, limit.per_minute, tenths / 10)
