"""What an ingress replica remembers of the rate limit: which agents the store need not be asked
about."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deployments.domain.errors import RateLimited
from deployments.domain.rate_limits import RateLimit

_MAX_REMEMBERED = 10_000


class RateRefusals:
    """Agents that are known to be over a limit, and until when.

    Exact, not a guess: until the hit that stands in the way leaves the window, no replica can grant
    a call of that agent.
    """

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._now_s = monotonic_s
        self._until_s: dict[tuple[str, str], float] = {}

    def check(self, limit: RateLimit, agent_id: str) -> None:
        """Raises RateLimited if the agent is known to be over the limit."""
        key = (limit.operation, agent_id)
        until_s = self._until_s.get(key)
        if until_s is None:
            return
        left_s = until_s - self._now_s()
        if left_s > 0:
            raise RateLimited(agent_id, limit.operation, limit.per_minute, left_s)
        del self._until_s[key]

    @contextmanager
    def remembered(self) -> Iterator[None]:
        """Around a call to the store: remembers its refusal."""
        try:
            yield
        except RateLimited as error:
            self._remember(error)
            raise

    def _remember(self, error: RateLimited) -> None:
        if len(self._until_s) >= _MAX_REMEMBERED:
            now_s = self._now_s()
            self._until_s = {key: s for key, s in self._until_s.items() if s > now_s}
        if len(self._until_s) < _MAX_REMEMBERED:
            key = (error.operation, error.agent_id)
            self._until_s[key] = self._now_s() + error.retry_after_s
