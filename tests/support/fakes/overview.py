"""The Overview port over dicts."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date

from deployments.domain.memories import MemoryType
from deployments.domain.overview import (
    CountBounds,
    DayCounts,
    Tally,
    TallyPage,
    Timeline,
)
from tests.support.fakes.rows import Rows


class InMemoryOverview:
    def __init__(self, rows: Rows, bounds: CountBounds) -> None:
        self._rows = rows
        self._bounds = bounds

    async def list_agents(self, limit: int, after: str | None) -> TallyPage:
        await self._rows.ping()
        visible = [
            memory for memory, _ in self._rows.by_id.values() if memory.superseded_by is None
        ]
        return self._page([memory.agent_id for memory in visible], limit, after)

    async def list_users(self, agent_id: str, limit: int, after: str | None) -> TallyPage:
        await self._rows.ping()
        memories = [
            memory
            for memory, _ in self._rows.by_id.values()
            if memory.agent_id == agent_id and memory.superseded_by is None
        ]
        return self._page([memory.user_id for memory in memories], limit, after)

    async def timeline(self, agent_id: str, user_id: str | None, since: date) -> Timeline:
        await self._rows.ping()
        entries = sorted(
            (
                (memory.created_at.astimezone(UTC).date(), memory.memory_type)
                for memory, _ in self._rows.by_id.values()
                if memory.agent_id == agent_id
                and user_id in (None, memory.user_id)
                and memory.superseded_by is None
            ),
            reverse=True,
        )
        in_time = [entry for entry in entries if entry[0] >= since]
        counted = in_time[: self._bounds.per_timeline + 1]
        is_whole = counted == in_time and len(in_time) <= self._bounds.per_timeline
        first = since if is_whole else counted[-1][0]
        return Timeline(
            first,
            [
                DayCounts(
                    day,
                    episodic=counted.count((day, MemoryType.EPISODIC)),
                    semantic=counted.count((day, MemoryType.SEMANTIC)),
                    procedural=counted.count((day, MemoryType.PROCEDURAL)),
                    is_exact=is_whole or day > first,
                )
                for day in sorted({day for day, _ in counted})
            ],
        )

    def _page(self, ids: Sequence[str], limit: int, after: str | None) -> TallyPage:
        bound = self._bounds.per_tally
        counts = Counter(id_ for id_ in ids if after is None or id_ > after)
        page = [
            Tally(id_, min(counts[id_], bound), counts[id_] <= bound)
            for id_ in sorted(counts)[:limit]
        ]
        return TallyPage(page, page[-1].id if len(counts) > limit else None)
