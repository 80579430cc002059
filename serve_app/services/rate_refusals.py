"""The rate-limited agents that an ingress replica refuses without a call to the store."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deployments.domain.errors import RateLimited
from deployments.domain.rate_limits import RateLimit

_MAX_REMEMBERED = 10_000


class RateRefusals:
    """The agents that have reached a rate limit, and until when.

    This is exact: until the oldest counted call leaves the window, no replica can grant the agent
    another.
    """

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._now_s = monotonic_s
        self._until_s: dict[tuple[str, str], float] = {}

    def check(self, limit: RateLimit, agent_id: str) -> None:
        """Raises RateLimited if the agent is known to have reached the limit."""
        key = (limit.operation, agent_id)
        until_s = self._until_s.get(key)
        if until_s is None:
            return
        remaining_s = until_s - self._now_s()
        if remaining_s > 0:
            raise RateLimited(agent_id, limit.operation, limit.per_minute, remaining_s)
        del self._until_s[key]

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Around a call to the store: records its refusal for `check`."""
        try:
            yield
        except RateLimited as error:
            self._record(error)
            raise

    def _record(self, error: RateLimited) -> None:
        if len(self._until_s) >= _MAX_REMEMBERED:
            now_s = self._now_s()
            self._until_s = {key: s for key, s in self._until_s.items() if s > now_s}
        if len(self._until_s) < _MAX_REMEMBERED:
            key = (error.operation, error.agent_id)
            self._until_s[key] = self._now_s() + error.retry_after_s
