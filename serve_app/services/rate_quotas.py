"""What is left of their rate limits to the agents that an ingress replica has called for."""

import time
from collections.abc import Callable, Collection

from deployments.domain.rate_limits import Quota, RateLimit

_MAX_REMEMBERED = 10_000


class RateQuotas:
    """Each agent's quota as the last answer from the store has it. The store counts the calls of
    all replicas, so it may be less by now."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = monotonic_s
        self._quotas: dict[tuple[RateLimit, str], tuple[Quota, float]] = {}

    def record(self, quota: Quota) -> None:
        if len(self._quotas) >= _MAX_REMEMBERED:
            self._quotas.clear()  # each is read soon after it is recorded
        key = quota.limit, quota.agent_id
        self._quotas[key] = (quota, self._now_s() + quota.reset_s)

    def lowest(self, limit: RateLimit, agent_ids: Collection[str]) -> Quota | None:
        """The quota of the agent that has the fewest calls left, as of now; None if none is known,
        or all are of more than a window ago."""
        quotas = [self._current(limit, agent_id) for agent_id in agent_ids]
        return min(
            (quota for quota in quotas if quota is not None),
            key=lambda quota: (quota.remaining, -quota.reset_s),
            default=None,
        )

    def _current(self, limit: RateLimit, agent_id: str) -> Quota | None:
        quota, until_s = self._quotas.get((limit, agent_id), (None, 0.0))
        reset_s = until_s - self._now_s()
        if quota is None or reset_s < 0:
            return None
        return Quota(agent_id, limit, quota.remaining, reset_s)
