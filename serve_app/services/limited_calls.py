"""Calls to the store that count against a rate limit."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from deployments.domain.embeddings import TextKind
from deployments.domain.rate_limits import Operation, Quota, RateLimit
from deployments.runtime.active_model import ActiveModel, Embedded
from serve_app.services.rate_quotas import RateQuotas
from serve_app.services.rate_refusals import RateRefusals

_T = TypeVar("_T")
StoreCall = Callable[[Embedded, RateLimit | None], Awaitable[_T]]


class LimitedCalls:
    """The rate limits of the service, and calls under them."""

    def __init__(
        self,
        model: ActiveModel,
        writes_per_minute: int,
        searches_per_minute: int,
        quotas: RateQuotas,
        monotonic_s: Callable[[], float],
    ) -> None:
        self._model = model
        self._rate_limits = {
            "write": RateLimit("write", writes_per_minute),
            "search": RateLimit("search", searches_per_minute),
        }
        self._quotas = quotas
        self._refusals = RateRefusals(monotonic_s)

    def rate_limit(self, operation: Operation, *agent_ids: str) -> RateLimit | None:
        """None if the operation is not limited. Raises RateLimited if an agent is known to have
        reached the limit."""
        limit = self._rate_limits[operation]
        if limit.per_minute == 0:
            return None
        for agent_id in agent_ids:
            self._refusals.check(limit, agent_id)
        return limit

    def quota(self, operation: Operation, agent_ids: Collection[str]) -> Quota | None:
        """See `RateQuotas.lowest`; None if the operation is not limited."""
        return self._quotas.lowest(self._rate_limits[operation], agent_ids)

    def recording(self) -> AbstractContextManager[None]:
        """Around a call to the store: remembers its refusal for `rate_limit`."""
        return self._refusals.recording()

    async def with_embeddings(
        self, texts: Sequence[str], kind: TextKind, limit: RateLimit | None, call: StoreCall[_T]
    ) -> _T:
        """Embed the texts and call the store by `call`; its result. If memories are re-embedded
        meanwhile, `call` runs again, without the rate limit that the first call counted."""

        async def call_store(embedded: Embedded) -> _T:
            with self.recording():
                return await call(embedded, limit if embedded.is_first_call else None)

        return await self._model.with_embeddings(texts, kind, call_store)
