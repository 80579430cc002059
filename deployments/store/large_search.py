"""Searches of scopes that are too large to be scored whole."""

from dataclasses import replace
from typing import Any

from deployments.domain.types import SearchQuery
from deployments.store.candidates import Candidates, Population, likely
from deployments.store.pool import Connection
from deployments.store.population import population_of, with_late
from deployments.store.prepared import Prepared
from deployments.store.queries import sql
from deployments.store.settings import StoreSettings
from deployments.store.sketches import are_sketched
from deployments.store.vector_index import VectorIndex

# Memories that are looked at for their words, where rare ones allow that. Where filters leave few
# of them, more are passed over, in the index alone.
POSTINGS, POSTINGS_OF_ONE, POSTINGS_PASSED_OVER = 3_000, 40_000, 30_000

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
        listing = await self._index.listing(connection, query.agent_id, query.user_id)
        async with connection.transaction(readonly=True):
            await connection.execute(sql("plan_for_values"))
            if listing is None:
                return [*await connection.fetch(sql("search_whole"), *_values(search))]
            has_sketches = listing.has_sketches and _is_sketched(search)
            population = await population_of(connection, query, search.scope_rows, listing.entries)
            if self._may_be_few(query, population):
                found = await self._of_few(connection, search, population, has_sketches)
                if found is not None:
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

    async def _of_few(
        self,
        connection: Connection,
        search: Prepared,
        population: Population,
        has_sketches: bool,
    ) -> list[Any] | None:
        """None where the filters leave more than are scored whole. They are scored as they are
        counted: to come to a memory takes longer than to score it."""
        if has_sketches:
            statement, arguments = self.by_sketches(search, population)
        else:
            statement, arguments = self.of_few(search)
        rows = await connection.fetch(statement, *arguments)
        if rows and rows[0]["candidates"] > self._settings.exact_search_rows:
            return None
        return [row for row in rows if row["id"] is not None]

    def of_few(self, search: Prepared) -> tuple[str, tuple[Any, ...]]:
        """The SQL that scores all that filters leave, and its arguments."""
        rows = self._settings.exact_search_rows
        return sql("search_whole_of_few"), (*_values(search), rows)

    def by_sketches(self, search: Prepared, population: Population) -> tuple[str, tuple[Any, ...]]:
        """The SQL that scores the likely ones of what filters leave, and its arguments."""
        postings = POSTINGS / max(population.passing, POSTINGS / POSTINGS_PASSED_OVER)
        return _with_dimensions("search_sketched", search), (
            *_values(search),
            self._settings.exact_search_rows,
            likely(search.call.query),
            search.rarest(round(postings), POSTINGS_OF_ONE),
            POSTINGS,
        )

    def by_candidates(
        self, search: Prepared, population: Population
    ) -> tuple[str, tuple[Any, ...]]:
        """The SQL that scores some of it, and its arguments."""
        most = self._settings.search_candidates
        candidates = Candidates.of(
            search.call.query, population, most, counts_words=search.share > 0
        )
        return _with_dimensions("search_large", search), (
            *_values(search),
            candidates.nearest,
            candidates.newest,
            search.rarest(POSTINGS, POSTINGS_OF_ONE),
            POSTINGS,
        )


def _is_sketched(search: Prepared) -> bool:
    """Whether sketches tell what a search asks for: neither ranks nor words alone, and of metadata
    one value."""
    metadata = search.call.query.filters.metadata
    if metadata is None or search.fuses_by_rank or search.share == 1:
        return False
    return are_sketched(metadata)


def _with_dimensions(name: str, search: Prepared) -> str:
    return sql(name).replace(":dimensions", str(len(search.call.embedding)))


def _values(search: Prepared) -> tuple[Any, ...]:
    return (*search.values, search.fuses_by_rank)
