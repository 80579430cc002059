"""The background jobs of each replica of the store."""

from collections.abc import Callable

from deployments.runtime.periodic import Job
from deployments.store.upkeep import StoreUpkeep

_POOL_INTERVAL_S = 1.0
_PURGE_INTERVAL_S = 60.0
_TERMS_INTERVAL_S = 5.0
_INDEX_INTERVAL_S = 5.0


def jobs(upkeep: StoreUpkeep, observe_pool: Callable[[], None]) -> tuple[Job, ...]:
    """The jobs with their intervals. `observe_pool` reports the sizes of the pool."""

    async def observe() -> None:
        observe_pool()

    return (
        Job("observe_pool", _POOL_INTERVAL_S, observe),
        Job("purge_rate_limits", _PURGE_INTERVAL_S, upkeep.purge_rate_limits),
        Job("purge_expired", _PURGE_INTERVAL_S, upkeep.purge_expired),
        Job("purge_idempotency_keys", _PURGE_INTERVAL_S, upkeep.purge_idempotency_keys),
        Job("renew_terms", _TERMS_INTERVAL_S, upkeep.renew_terms),
        Job("fold_frequencies", _TERMS_INTERVAL_S, upkeep.fold_frequencies),
        Job("fill_vector_index", _INDEX_INTERVAL_S, upkeep.fill_vector_index),
    )
