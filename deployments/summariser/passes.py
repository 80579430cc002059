"""Passes over the scopes, which condense the memories that are due, scope by scope, in batches."""

import asyncio
import functools
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from deployments.analyzer import Analyzer
from deployments.domain.memories import Memory, MemoryType, NewMemory
from deployments.domain.ports.summaries import Condensing
from deployments.domain.summaries import Condensation, PassReport, ScopeToCondense, Source
from deployments.runtime import logs
from deployments.runtime.active_model import ActiveModel, Embedded
from deployments.runtime.ids import uuid7
from deployments.summariser.extract import extract
from deployments.summariser.settings import SummarizationSettings

MAX_CHARACTERS = 8_000
"""Of a summary, as of any memory."""
_SCOPES_PER_PAGE = 500
_FIRST_PAUSE_S = 60.0
_MAX_PAUSE_S = 3_600.0
_MAX_FAILURES = 10_000

_logger = logging.getLogger(logs.NAME)


@dataclass(frozen=True, slots=True)
class _Failure:
    count: int
    retry_at_s: float


class Passes:
    """Finds scopes that are due and condenses them, through the ports. Several passes may run at
    once, in any processes: the store makes sure that no batch becomes two summaries.

    A scope that fails is skipped for a while, twice as long each time, without delaying others.
    """

    def __init__(
        self,
        settings: SummarizationSettings,
        store: Condensing,
        model: ActiveModel,
        analyzer: Analyzer,
        count_condensed: Callable[[int], None] = lambda _memories: None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._store = store
        self._model = model
        self._analyzer = analyzer
        self._count_condensed = count_condensed
        self._now_s = monotonic_s
        self._failures: dict[tuple[str, str], _Failure] = {}

    async def run(
        self, agent_id: str | None = None, user_id: str | None = None, budget_s: float = 1e9
    ) -> PassReport:
        """Make a pass over all scopes, over one agent's, or over one scope, for about `budget_s`.
        Raises Unavailable if the store cannot list the scopes; a scope's failure is logged and
        counted."""
        deadline_s = self._now_s() + budget_s
        due = summaries = memories = failed = 0
        is_complete = True
        async for scope in self._due_scopes(agent_id, user_id):
            is_due = scope.is_due
            try:
                async for condensed in self._condense_batches(scope):
                    is_due = True
                    summaries += 1
                    memories += condensed
                    self._count_condensed(condensed)
                    if self._now_s() >= deadline_s:
                        break
                self._failures.pop((scope.agent_id, scope.user_id), None)
            except Exception:
                failed += 1
                self._record_failure(scope)
            due += is_due
            if self._now_s() >= deadline_s:
                is_complete = False
                break
        return PassReport(due, summaries, memories, failed, is_complete)

    async def purge(self) -> int:
        """Delete memories that were condensed more than `retention_days` ago; return how many."""
        if self._settings.retention_days == 0:
            return 0
        retention = timedelta(days=self._settings.retention_days)
        return await self._store.purge_superseded(datetime.now(UTC) - retention)

    async def _due_scopes(
        self, agent_id: str | None, user_id: str | None
    ) -> AsyncIterator[ScopeToCondense]:
        if agent_id is not None and user_id is not None:
            # Reading the scope shows whether it is due. A failure does not pause it if it is named.
            yield ScopeToCondense(agent_id, user_id, is_due=False)
            return
        after = (agent_id or "", "")
        while True:
            scopes = await self._store.scopes_to_condense(
                after, self._settings.threshold, _SCOPES_PER_PAGE
            )
            for scope in scopes:
                if agent_id is not None and scope.agent_id != agent_id:
                    return
                if scope.is_due and not self._is_paused(scope):
                    yield scope
            if len(scopes) < _SCOPES_PER_PAGE:
                return
            after = (scopes[-1].agent_id, scopes[-1].user_id)

    async def _condense_batches(self, scope: ScopeToCondense) -> AsyncIterator[int]:
        """Condense until no more than the threshold is left; yield the size of each batch."""
        settings = self._settings
        while sources := await self._store.oldest_condensable(
            scope.agent_id, scope.user_id, settings.threshold, settings.batch_size
        ):
            summary = await asyncio.to_thread(_summary, scope, sources, settings, self._analyzer)
            store = functools.partial(self._store_summary, summary, sources)
            stored = await self._model.with_embeddings([summary.content], "passage", store)
            if stored is None:  # another pass has condensed them, or a source has changed
                return
            yield len(sources)

    async def _store_summary(
        self, summary: NewMemory, sources: Sequence[Source], embedded: Embedded
    ) -> Memory | None:
        return await self._store.condense(
            Condensation(
                summary,
                embedded.embeddings[0],
                embedded.generation,
                [(source.id, source.updated_at) for source in sources],
            )
        )

    def _is_paused(self, scope: ScopeToCondense) -> bool:
        failure = self._failures.get((scope.agent_id, scope.user_id))
        return failure is not None and failure.retry_at_s > self._now_s()

    def _record_failure(self, scope: ScopeToCondense) -> None:
        key = (scope.agent_id, scope.user_id)
        count = self._failures[key].count + 1 if key in self._failures else 1
        pause_s = min(_MAX_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(count - 1, 10))
        _logger.warning(
            "a scope could not be condensed; retrying in %.0f s", pause_s, exc_info=True
        )
        if len(self._failures) >= _MAX_FAILURES:
            self._failures.clear()  # bounds memory; the scopes are only retried sooner
        self._failures[key] = _Failure(count, self._now_s() + pause_s)


def _summary(
    scope: ScopeToCondense,
    sources: Sequence[Source],
    settings: SummarizationSettings,
    analyzer: Analyzer,
) -> NewMemory:
    """The memory that replaces `sources`, which are oldest first. It is as new as the newest and as
    important as the most important of them. Its metadata are those that all sources share, and the
    number and times of the sources."""
    sentences = extract(sources, analyzer, settings.method, settings.max_sentences, MAX_CHARACTERS)
    newest = max(source.created_at for source in sources)
    return NewMemory(
        id=uuid7(),
        agent_id=scope.agent_id,
        user_id=scope.user_id,
        content="\n".join(sentences),
        importance=max(source.importance for source in sources),
        memory_type=MemoryType.SEMANTIC,
        metadata={
            **_shared_metadata(sources),
            "summary": {
                "memories": len(sources),
                "from": min(source.created_at for source in sources).isoformat(),
                "to": newest.isoformat(),
            },
        },
        created_at=newest,
    )


def _shared_metadata(sources: Sequence[Source]) -> dict[str, Any]:
    first, *others = (source.metadata for source in sources)
    return {
        key: value
        for key, value in first.items()
        if all(key in other and other[key] == value for other in others)
    }
