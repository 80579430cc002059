"""Searches of scopes that are too large to be scored whole."""

from dataclasses import replace
from typing import Any

from deployments.domain.search import SearchQuery
from deployments.store.postgres.pool import Connection
from deployments.store.searches.candidates import Candidates, Population, max_likely
from deployments.store.searches.population import Populations
from deployments.store.searches.prepared import Prepared
from deployments.store.searches.tuning import SearchTuning
from deployments.store.settings import StoreSettings
from deployments.store.sql import sql
from deployments.store.vector_index.index import VectorIndex
from deployments.store.vector_index.sketches import sketched_by

Bound = tuple[Any, ...]
"""A statement's text and its parameters."""


class LargeSearch:
    """Finds the rows of the hits; `SearchRepository` turns them into memories."""

    def __init__(
        self,
        settings: StoreSettings,
        index: VectorIndex,
        tuning: SearchTuning,
        populations: Populations,
    ) -> None:
        self._settings = settings
        self._index = index
        self._tuning = tuning
        self._populations = populations

    async def rows(self, connection: Connection, search: Prepared) -> list[Any]:
        """The rows of the hits, best first."""
        query = search.call.query
        listing = await self._index.listing(connection, query.agent_id, query.user_id)
        async with connection.transaction(readonly=True):
            await connection.execute(*sql.plan_for_values())
            if listing is None:
                return [*await connection.fetch(*sql.search_whole(**search.values_of_one))]
            population = await self._populations.population(
                connection, query, scope_rows=search.scope_rows, indexed=listing.entries
            )
            if self._may_be_few(query, population):
                has_sketches = listing.has_sketches and _is_sketched(search)
                hits = await self._of_few(connection, search, population, has_sketches)
                if hits is not None:
                    return hits
                at_least = max(population.matching, self._settings.exact_search_rows + 1)
                population = replace(population, matching=at_least)
            population = await self._populations.with_recent(connection, query, population)
            return [*await connection.fetch(*self.by_candidates(search, population))]

    def _may_be_few(self, query: SearchQuery, population: Population) -> bool:
        """Whether the filters may leave at most `exact_search_rows` memories."""
        exact_rows = self._settings.exact_search_rows
        if query.filters.metadata is not None:
            return population.matching <= self._tuning.metadata_estimate_factor * exact_rows
        if query.filters.memory_type is not None:
            return population.matching <= exact_rows
        return False  # the span of time has been counted: it is large

    async def _of_few(
        self,
        connection: Connection,
        search: Prepared,
        population: Population,
        has_sketches: bool,
    ) -> list[Any] | None:
        """The hits; None if the filters leave more than `exact_search_rows` memories. One statement
        counts and scores them, because reaching a memory takes longer than scoring it."""
        statement = self.by_sketches(search, population) if has_sketches else self.of_few(search)
        rows = await connection.fetch(*statement)
        if rows and rows[0]["candidates"] > self._settings.exact_search_rows:
            return None
        return [row for row in rows if row["id"] is not None]

    def of_few(self, search: Prepared) -> Bound:
        """The statement that scores every memory that passes the filters."""
        return sql.search_whole_of_few(
            **search.values_of_one, max_few=self._settings.exact_search_rows
        )

    def by_sketches(self, search: Prepared, population: Population) -> Bound:
        """The statement that scores the likely hits among the memories that pass the filters."""
        tuning = self._tuning
        # The fewer pass the filters, the more memories with a rare term have to be looked up.
        share = max(population.matching_share, tuning.max_lexical / tuning.max_lexical_skipped)
        return sql.search_sketched(
            **search.values_of_one,
            sketched=sketched_by(search.call.query.filters.metadata),
            max_few=self._settings.exact_search_rows,
            max_likely=max_likely(search.call.query, tuning),
            rare_keys=self._rare_keys(search, round(tuning.max_lexical / share)),
            max_lexical=tuning.max_lexical,
            dimensions=len(search.call.embedding),
        )

    def by_candidates(self, search: Prepared, population: Population) -> Bound:
        """The statement that scores candidates among the memories that pass the filters."""
        candidates = Candidates.of(
            search.call.query,
            population,
            self._tuning,
            max_nearest=self._settings.search_candidates,
            counts_words=search.lexical_share > 0,
        )
        return sql.search_large(
            **search.values_of_one,
            max_nearest=candidates.nearest,
            max_newest=candidates.newest,
            rare_keys=self._rare_keys(search, self._tuning.max_lexical),
            max_lexical=self._tuning.max_lexical,
            dimensions=len(search.call.embedding),
        )

    def _rare_keys(self, search: Prepared, max_memories: int) -> list[int]:
        return search.rare_keys(
            max_memories=max_memories, max_of_rarest=self._tuning.max_lexical_of_rarest
        )


def _is_sketched(search: Prepared) -> bool:
    """Whether sketches can serve the search: it filters by one metadata value, and ranks by neither
    rank fusion nor words only."""
    if search.fuses_by_rank or search.lexical_share == 1:
        return False
    return sketched_by(search.call.query.filters.metadata) is not None
