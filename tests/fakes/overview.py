"""Agents, users and days, counted."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date

from deployments.domain.overview import (
    COUNTED_OF_ONE,
    COUNTED_OF_TIMELINE,
    DayCounts,
    Tally,
    TallyPage,
    Timeline,
)
from deployments.domain.types import MemoryType
from tests.fakes.rows import Rows


class Overview(Rows):
    async def list_agents(self, limit: int, after: str | None) -> TallyPage:
        await self.ping()
        shown = [memory for memory, _ in self._rows.values() if memory.superseded_by is None]
        return tallied([memory.agent_id for memory in shown], limit, after)

    async def list_users(self, agent_id: str, limit: int, after: str | None) -> TallyPage:
        await self.ping()
        memories = [
            memory
            for memory, _ in self._rows.values()
            if memory.agent_id == agent_id and memory.superseded_by is None
        ]
        return tallied([memory.user_id for memory in memories], limit, after)

    async def timeline(self, agent_id: str, user_id: str | None, since: date) -> Timeline:
        await self.ping()
        days = sorted(
            (
                (memory.created_at.astimezone(UTC).date(), memory.memory_type)
                for memory, _ in self._rows.values()
                if memory.agent_id == agent_id
                and user_id in (None, memory.user_id)
                and memory.superseded_by is None
            ),
            reverse=True,
        )
        found = [entry for entry in days if entry[0] >= since]
        counted = found[: COUNTED_OF_TIMELINE + 1]
        is_whole = counted == found and len(found) <= COUNTED_OF_TIMELINE
        first = since if is_whole else counted[-1][0]
        return Timeline(
            first,
            [
                DayCounts(
                    day,
                    *(counted.count((day, memory_type)) for memory_type in MemoryType),
                    is_exact=is_whole or day > first,
                )
                for day in sorted({day for day, _ in counted})
            ],
        )


def tallied(ids: Sequence[str], limit: int, after: str | None) -> TallyPage:
    counts = Counter(id_ for id_ in ids if after is None or id_ > after)
    page = [
        Tally(id_, min(counts[id_], COUNTED_OF_ONE), counts[id_] <= COUNTED_OF_ONE)
        for id_ in sorted(counts)[:limit]
    ]
    return TallyPage(page, page[-1].id if len(counts) > limit else None)
