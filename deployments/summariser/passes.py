"""One pass over the scopes: memories that are due are condensed, scope by scope, batch by batch."""

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
"""Of a summary; a memory may have as many."""
_SCOPES_AT_ONCE = 500
_FIRST_PAUSE_S = 60.0
_LONGEST_PAUSE_S = 3_600.0
_REMEMBERED_FAILURES = 10_000

_logger = logging.getLogger(logs.NAME)


@dataclass(frozen=True, slots=True)
class _Failure:
    times: int
    until_s: float


class Passes:
    """Finds scopes that are due and condenses them, over the ports. Several passes may run at once,
    anywhere: the store makes sure that no batch becomes two summaries.

    A scope that fails is skipped for a while, twice as long each time, and holds up no other.
    """

    def __init__(
        self,
        settings: SummarizationSettings,
        store: Condensing,
        model: ActiveModel,
        analyzer: Analyzer,
        condensed: Callable[[int], None] = lambda _memories: None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._store = store
        self._model = model
        self._analyzer = analyzer
        self._condensed = condensed
        self._now_s = monotonic_s
        self._failures: dict[tuple[str, str], _Failure] = {}

    async def run(
        self, agent_id: str | None = None, user_id: str | None = None, budget_s: float = 1e9
    ) -> PassReport:
        """Over all scopes, the agent's, or one. Raises Unavailable where scopes cannot be found;
        whatever a single scope fails with is logged and counted."""
        until_s = self._now_s() + budget_s
        due = summaries = memories = failed = 0
        is_complete = True
        async for scope in self._due(agent_id, user_id):
            is_due = scope.is_due
            try:
                async for condensed in self._batches(scope):
                    is_due = True
                    summaries += 1
                    memories += condensed
                    self._condensed(condensed)
                    if self._now_s() >= until_s:
                        break
                self._failures.pop((scope.agent_id, scope.user_id), None)
            except Exception:
                failed += 1
                self._failed(scope)
            due += is_due
            if self._now_s() >= until_s:
                is_complete = False
                break
        return PassReport(due, summaries, memories, failed, is_complete)

    async def purge(self) -> int:
        """Deletes what was condensed longer ago than the setting keeps it; how many."""
        if self._settings.retention_days == 0:
            return 0
        kept = timedelta(days=self._settings.retention_days)
        return await self._store.purge_superseded(datetime.now(UTC) - kept)

    async def _due(
        self, agent_id: str | None, user_id: str | None
    ) -> AsyncIterator[ScopeToCondense]:
        if agent_id is not None and user_id is not None:
            # Whether it is due is seen when it is read; asked for, it does not wait either.
            yield ScopeToCondense(agent_id, user_id, is_due=False)
            return
        after = (agent_id or "", "")
        while True:
            scopes = await self._store.scopes_to_condense(
                after, self._settings.threshold, _SCOPES_AT_ONCE
            )
            for scope in scopes:
                if agent_id is not None and scope.agent_id != agent_id:
                    return
                if scope.is_due and not self._is_waiting(scope):
                    yield scope
            if len(scopes) < _SCOPES_AT_ONCE:
                return
            after = (scopes[-1].agent_id, scopes[-1].user_id)

    async def _batches(self, scope: ScopeToCondense) -> AsyncIterator[int]:
        """Condenses until no more than the threshold is left; the size of each batch."""
        settings = self._settings
        while sources := await self._store.oldest_condensable(
            scope.agent_id, scope.user_id, settings.threshold, settings.batch_size
        ):
            summary = await asyncio.to_thread(summarised, scope, sources, settings, self._analyzer)
            store = functools.partial(self._store_summary, summary, sources)
            stored = await self._model.with_embeddings([summary.content], "passage", store)
            if stored is None:  # another pass was first, or a source has changed
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

    def _is_waiting(self, scope: ScopeToCondense) -> bool:
        failure = self._failures.get((scope.agent_id, scope.user_id))
        return failure is not None and failure.until_s > self._now_s()

    def _failed(self, scope: ScopeToCondense) -> None:
        key = (scope.agent_id, scope.user_id)
        times = self._failures[key].times + 1 if key in self._failures else 1
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(times - 1, 10))
        _logger.warning(
            "a scope could not be condensed; it is tried again in %.0f s", pause_s, exc_info=True
        )
        if len(self._failures) >= _REMEMBERED_FAILURES:
            self._failures.clear()  # they are tried sooner, that is all
        self._failures[key] = _Failure(times, self._now_s() + pause_s)


def summarised(
    scope: ScopeToCondense,
    sources: Sequence[Source],
    settings: SummarizationSettings,
    analyzer: Analyzer,
) -> NewMemory:
    """The memory that stands for `sources`, oldest first: as new as the newest and as important as
    the most important of them, with the metadata that they share and what it covers."""
    lines = extract(sources, analyzer, settings.method, settings.max_sentences, MAX_CHARACTERS)
    newest = max(source.created_at for source in sources)
    return NewMemory(
        id=uuid7(),
        agent_id=scope.agent_id,
        user_id=scope.user_id,
        content="\n".join(lines),
        importance=max(source.importance for source in sources),
        memory_type=MemoryType.SEMANTIC,
        metadata={
            **_shared(sources),
            "summary": {
                "memories": len(sources),
                "from": min(source.created_at for source in sources).isoformat(),
                "to": newest.isoformat(),
            },
        },
        created_at=newest,
    )


def _shared(sources: Sequence[Source]) -> dict[str, Any]:
    first, *others = (source.metadata for source in sources)
    return {
        key: value
        for key, value in first.items()
        if all(key in other and other[key] == value for other in others)
    }
