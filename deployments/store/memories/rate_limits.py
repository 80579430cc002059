"""Rate limits: count the calls of many agents in one statement, and refuse calls over the limit."""

import math
from collections import Counter
from collections.abc import Sequence

from deployments.domain.errors import RateLimited
from deployments.domain.rate_limits import ObserveQuota, Quota, RateLimit
from deployments.store.postgres.pool import Connection
from deployments.store.sql import sql


class RateLimits:
    """Counts calls; `observe` is called with each agent's quota."""

    def __init__(self, observe: ObserveQuota) -> None:
        self._observe = observe

    async def hit_each(
        self, connection: Connection, calls: Sequence[tuple[str, RateLimit | None]]
    ) -> list[RateLimited | None]:
        """Count each call, (agent_id, rate limit), in order. Returns for each call its refusal, or
        None if it is granted. A refused call does not count against the limit. A call without a
        rate limit is neither counted nor refused.

        Call it outside a write's transaction: the rows' locks would make an agent's writes wait for
        each other's commits. (A write under an idempotency key counts inside its transaction, so
        that it counts if and only if it is made. There, the agent's writes do wait.)
        """
        refusals: list[RateLimited | None] = [None] * len(calls)
        for limit in {limit for _, limit in calls if limit is not None}:
            agents = Counter(agent_id for agent_id, call_limit in calls if call_limit == limit)
            grants = await self._hit(connection, agents, limit)
            for index, (agent_id, call_limit) in enumerate(calls):
                if call_limit != limit:
                    continue
                granted, reset_s = grants[agent_id]
                grants[agent_id] = (granted - 1, reset_s)
                if granted <= 0:
                    refusals[index] = _refusal(agent_id, limit, reset_s)
        return refusals

    async def hit_one(self, connection: Connection, agent_id: str, limit: RateLimit | None) -> None:
        """Count one call. Raises RateLimited."""
        (refusal,) = await self.hit_each(connection, [(agent_id, limit)])
        if refusal is not None:
            raise refusal

    async def hit_together(
        self, connection: Connection, agent_ids: set[str], limit: RateLimit
    ) -> None:
        """Count one call for each of several agents. Raises RateLimited if any is over the limit,
        and then counts it for none."""
        async with connection.transaction():
            grants = await self._hit(connection, Counter(agent_ids), limit)
            for agent_id, (granted, reset_s) in grants.items():
                if not granted:
                    raise _refusal(agent_id, limit, reset_s)

    async def _hit(
        self, connection: Connection, agents: Counter[str], limit: RateLimit
    ) -> dict[str, tuple[int, float]]:
        """For each agent, how many of its calls are granted, and the seconds until one more could
        be."""
        agent_ids = sorted(agents)  # all statements lock rows in one order, to prevent deadlocks
        rows = await connection.fetch(
            *sql.hit_rate_limits(
                agent_ids=agent_ids,
                calls=[agents[agent_id] for agent_id in agent_ids],
                operation=limit.operation,
                per_minute=limit.per_minute,
            )
        )
        for row in rows:
            self._observe(Quota(row["agent_id"], limit, row["remaining"], row["reset_s"]))
        return {row["agent_id"]: (row["granted"], row["reset_s"]) for row in rows}


def _refusal(agent_id: str, limit: RateLimit, retry_after_s: float) -> RateLimited:
    tenths = math.ceil(max(0.0, retry_after_s) * 10)
    return RateLimited(agent_id, limit.operation, limit.per_minute, tenths / 10)
