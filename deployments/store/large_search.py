"""Searches of scopes that are too large to be scored whole."""

from dataclasses import replace
from typing import Any

from deployments.domain.types import SearchQuery
from deployments.store.candidates import Candidates, Population
from deployments.store.pool import Connection
from deployments.store.population import population_of, with_late
from deployments.store.prepared import Prepared
from deployments.store.queries import sql
from deployments.store.settings import StoreSettings
from deployments.store.vector_index import VectorIndex

# Memories that are looked at for their words, where rare ones allow that.
POSTINGS, POSTINGS_OF_ONE = 3_000, 40_000

# The planner knows little of what metadata holds. What it expects to be no more than so many times
# what is scored whole may be few.
_DOUBTED = 5


class LargeSearch:
    """Finds the candidates; `Search` makes memories of them."""

    def __init__(self, settings: StoreSettings, index: VectorIndex) -> None:
        self._settings = settings
        self._index = index

    async def rows(self, connection: Connection, search: Prepared) -> list[Any]:
        """The hits, best first."""
        query = search.call.query
        entries = await self._index.entries(connection, query.agent_id, query.user_id)
        async with connection.transaction(readonly=True):
            await connection.execute(sql("plan_for_values"))
            if entries is None:
                return [*await connection.fetch(sql("search_whole"), *_values(search))]
            population = await population_of(connection, query, search.scope_rows, entries)
            if self._may_be_few(query, population):
                if (found := await self._of_few(connection, search)) is not None:
                    return found
                more = max(population.matching, self._settings.exact_search_rows + 1)
                population = replace(population, matching=more)
            population = await with_late(connection, query, population)
            statement, arguments = self.by_candidates(search, population)
            return [*await connection.fetch(statement, *arguments)]

    def _may_be_few(self, query: SearchQuery, population: Population) -> bool:
        """Whether the filters may leave no more than are scored whole."""
        if query.filters.metadata is not None:
            return population.matching <= _DOUBTED * self._settings.exact_search_rows
        if query.filters.memory_type is not None:
            return population.matching <= self._settings.exact_search_rows
        return False  # times have been counted

    async def _of_few(self, connection: Connection, search: Prepared) -> list[Any] | None:
        """None where the filters leave more than are scored whole. They are scored as they are
        counted: to come to a memory takes longer than to score it."""
        statement, arguments = self.of_few(search)
        rows = await connection.fetch(statement, *arguments)
        if rows and rows[0]["candidates"] > self._settings.exact_search_rows:
            return None
        return [row for row in rows if row["id"] is not None]

    def of_few(self, search: Prepared) -> tuple[str, tuple[Any, ...]]:
        """The SQL that scores all that filters leave, and its arguments."""
        rows = self._settings.exact_search_rows
        return sql("search_whole_of_few"), (*_values(search), rows)

    def by_candidates(
        self, search: Prepared, population: Population
    ) -> tuple[str, tuple[Any, ...]]:
        """The SQL that scores some of it, and its arguments."""
        most = self._settings.search_candidates
        candidates = Candidates.of(
            search.call.query, population, most, counts_words=search.share > 0
        )
        dimensions = str(len(search.call.embedding))
        return sql("search_large").replace(":dimensions", dimensions), (
            *_values(search),
            candidates.nearest,
            candidates.newest,
            search.rarest,
            POSTINGS,
        )


def _values(search: Prepared) -> tuple[Any, ...]:
    return (*search.values, search.fuses_by_rank)
