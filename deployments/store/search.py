"""Searches: what their words are worth in their scopes, then the candidates and their ranking."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from deployments.domain.errors import GenerationRetired
from deployments.domain.ranking import MAX_IMPORTANCE, fuses_by_rank, lexical_share
from deployments.domain.types import (
    Explanation,
    Memory,
    Ranking,
    ScoreWeights,
    SearchCall,
    SearchQuery,
)
from deployments.store.generations import active_generation
from deployments.store.large_search import LargeSearch
from deployments.store.lexicon import Lexicon, QueryTerms
from deployments.store.pool import Connection
from deployments.store.prepared import Prepared
from deployments.store.queries import sql
from deployments.store.rows import memory_of
from deployments.store.settings import StoreSettings
from deployments.store.vector_index import VectorIndex

# Two to three milliseconds of work. Searches of larger scopes are not made together with others.
_TOGETHER_ROWS = 2_000

_Range = tuple[str, str, int, datetime | None, datetime | None]
"""A scope with its key, and a time in it."""


class Search:
    """Searches scopes of any size on a connection."""

    def __init__(self, settings: StoreSettings, lexicon: Lexicon, index: VectorIndex) -> None:
        self._settings = settings
        self._lexicon = lexicon
        self._large = LargeSearch(settings, index)

    async def prepare(self, connection: Connection, calls: Sequence[SearchCall]) -> list[Prepared]:
        """Reads the words' frequencies and the scopes' sizes, for all in one statement."""
        shares = [self._share(call) for call in calls]
        terms = await self._lexicon.query_all(
            [
                (call.query.agent_id, call.query.user_id, call.query.text if share else "")
                for call, share in zip(calls, shares, strict=True)
            ]
        )
        scopes = list(dict.fromkeys(map(_range, calls, terms)))
        exact_rows = self._settings.exact_search_rows
        rows = await connection.fetch(
            sql("term_frequencies"),
            list({key for entry in terms for key in (entry.scope_key, *entry.counts)}),
            *([scope[field] for scope in scopes] for field in range(5)),
            exact_rows,
        )
        # No two scopes share a key.
        frequencies = {row["term_key"]: row["memories"] for row in rows if row["scope"] is None}
        sizes = {row["scope"]: row["memories"] for row in rows if row["scope"] is not None}
        rows_of = {scope: sizes[place] for place, scope in enumerate(scopes, 1)}
        return [
            self._prepared(call, entry, frequencies, share, rows_of)
            for call, entry, share in zip(calls, terms, shares, strict=True)
        ]

    def _prepared(
        self,
        call: SearchCall,
        terms: QueryTerms,
        frequencies: Mapping[int, int],
        share: float,
        rows_of: Mapping[_Range, int],
    ) -> Prepared:
        rows = rows_of[_range(call, terms)]
        weights = terms.weights(frequencies)
        return Prepared(
            call,
            weights,
            share if weights.indices() else 0.0,
            terms,
            frequencies,
            rows,
            frequencies.get(terms.scope_key, 0),
            rows > self._settings.exact_search_rows,
        )

    async def hits_each(
        self, connection: Connection, searches: Sequence[Prepared]
    ) -> list[list[Memory] | GenerationRetired | None]:
        """Best first, of each; together in as few statements as there are ways to fuse.

        None for one that takes long, unless there is no other search: those would wait for it.
        """
        is_alone = len(searches) == 1
        found: list[list[Memory] | GenerationRetired | None]
        if is_alone and searches[0].call.query.include_superseded:
            found = [await self._hits_with_superseded(connection, searches[0])]
        elif is_alone and searches[0].is_large:
            found = [await self._large_hits(connection, searches[0])]
        else:
            found = [*await self._hits_together(connection, searches, is_alone)]
        # No statement finds anything for a retired generation, but that is not to be said.
        empty = [place for place, hits in enumerate(found) if hits == []]
        if empty:
            active = await active_generation(connection)
            for place in empty:
                if searches[place].call.generation != active:
                    found[place] = GenerationRetired()
        return found

    async def _hits_together(
        self, connection: Connection, searches: Sequence[Prepared], is_alone: bool
    ) -> list[list[Memory] | None]:
        found: list[list[Memory] | None] = [None] * len(searches)
        for name in ("search_each_weighted", "search_each_by_rank"):
            places = [
                place
                for place, search in enumerate(searches)
                if search.statement == name
                and not search.is_large
                and (is_alone or search.rows <= _TOGETHER_ROWS)
            ]
            rows: list[list[Any]] = [[] for _ in places]
            if places:
                arguments = self.columns([searches[place] for place in places])
                for row in await connection.fetch(sql(name), *arguments):
                    rows[row["search"] - 1].append(row)
            for place, its_rows in zip(places, rows, strict=True):
                found[place] = self._memories(searches[place], its_rows)
        return found

    async def _hits_with_superseded(self, connection: Connection, search: Prepared) -> list[Memory]:
        arguments = (*search.values, search.fuses_by_rank)
        rows = await connection.fetch(sql(search.statement), *arguments)
        return self._memories(search, rows)

    async def _large_hits(self, connection: Connection, search: Prepared) -> list[Memory]:
        return self._memories(search, await self._large.rows(connection, search))

    def columns(self, together: Sequence[Prepared]) -> list[tuple[Any, ...]]:
        """Of the other two, an array for each parameter."""
        return list(zip(*(search.values for search in together), strict=True))

    def _share(self, call: SearchCall) -> float:
        return lexical_share(call.query.ranking, self._lexicon.settings.lexical_weight)

    def _memories(self, search: Prepared, rows: Sequence[Any]) -> list[Memory]:
        query = search.call.query
        if not query.explain:
            return [memory_of(row, row["score"]) for row in rows]
        asked = self._lexicon.analyzer.terms(query.text)
        share = self._share(search.call)
        return [
            memory_of(row, row["score"], self._explained(row, query, asked, share)) for row in rows
        ]

    def _explained(
        self, row: Any, query: SearchQuery, asked: list[str], share: float
    ) -> Explanation:
        return Explanation(
            cosine=row["cosine"],
            lexical=row["lexical"],
            similarity=row["similarity"],
            recency=row["recency"],
            importance=row["importance"] / MAX_IMPORTANCE,
            age_days=row["age_days"],
            weights=_weights(query.ranking, share if row["has_matches"] else 0.0),
            matched_terms=self._lexicon.matched_terms(asked, row["content"]),
            cosine_rank=row["cosine_rank"],
            lexical_rank=row["lexical_rank"],
        )


def _range(call: SearchCall, terms: QueryTerms) -> _Range:
    query, filters = call.query, call.query.filters
    times = filters.created_after, filters.created_before
    return query.agent_id, query.user_id, terms.scope_key, *times


def _weights(ranking: Ranking, share: float) -> ScoreWeights:
    by_rank = fuses_by_rank(ranking) and share > 0
    return ScoreWeights(
        similarity=ranking.alpha,
        recency=1.0 - ranking.alpha,
        importance=ranking.importance_weight,
        cosine=None if by_rank else 1.0 - share,
        lexical=None if by_rank else share,
    )
