"""Searches: what their words are worth in their scopes, then the candidates and their ranking."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgvector import SparseVector, Vector

from deployments.domain.ranking import MAX_IMPORTANCE, fuses_by_rank, lexical_share
from deployments.domain.types import (
    Explanation,
    Memory,
    Ranking,
    ScoreWeights,
    SearchCall,
    SearchQuery,
)
from deployments.store.lexicon import Lexicon, QueryTerms
from deployments.store.pool import Connection
from deployments.store.queries import sql
from deployments.store.rows import memory_of
from deployments.store.settings import StoreSettings

# How many memories of a large scope are looked at for their words, where rare ones allow that.
_POSTINGS = 20_000

# Two to three milliseconds of work. Searches of larger scopes are not made together with others.
_TOGETHER_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """A search, and what had to be read before its statement could be chosen."""

    call: SearchCall
    weights: SparseVector
    share: float
    """Of words in the similarity; 0 also where no memory of the scope has any of the words."""
    rarest: list[int]
    rows: int
    """Of the scope, counted to one more than are scored whole."""
    is_large: bool
    """Whether the scope has more memories than are scored whole."""

    @property
    def fuses_by_rank(self) -> bool:
        return fuses_by_rank(self.call.query.ranking) and self.share > 0

    @property
    def statement(self) -> str:
        """The name of the one that answers it."""
        if self.is_large:
            return "search_large"
        return "search_each_by_rank" if self.fuses_by_rank else "search_each_weighted"


class Search:
    """Searches scopes of any size on a connection."""

    def __init__(self, settings: StoreSettings, lexicon: Lexicon) -> None:
        self._settings = settings
        self._postings = max(_POSTINGS, settings.exact_search_rows)
        self._lexicon = lexicon

    async def prepare(self, connection: Connection, calls: Sequence[SearchCall]) -> list[Prepared]:
        """Reads the words' frequencies and the scopes' sizes, for all in one statement."""
        shares = [self._share(call) for call in calls]
        terms = await self._lexicon.query_all(
            [
                (call.query.agent_id, call.query.user_id, call.query.text if share else "")
                for call, share in zip(calls, shares, strict=True)
            ]
        )
        scopes = list(dict.fromkeys((call.query.agent_id, call.query.user_id) for call in calls))
        exact_rows = self._settings.exact_search_rows
        rows = await connection.fetch(
            sql("term_frequencies"),
            list({key for entry in terms for key in (entry.scope_key, *entry.counts)}),
            [agent_id for agent_id, _ in scopes],
            [user_id for _, user_id in scopes],
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
        rows_of: Mapping[tuple[str, str], int],
    ) -> Prepared:
        rows = rows_of[call.query.agent_id, call.query.user_id]
        weights = terms.weights(frequencies)
        return Prepared(
            call,
            weights,
            share if weights.indices() else 0.0,
            terms.rarest(frequencies, self._postings),
            rows,
            rows > self._settings.exact_search_rows,
        )

    async def hits_each(
        self, connection: Connection, searches: Sequence[Prepared]
    ) -> list[list[Memory] | None]:
        """Best first, of each; together in as few statements as there are ways to fuse.

        None for one that takes long, unless there is no other search: those would wait for it.
        """
        is_alone = len(searches) == 1
        if is_alone and searches[0].is_large:
            return [await self._large_hits(connection, searches[0])]
        found: list[list[Memory] | None] = [None] * len(searches)
        for name in ("search_each_weighted", "search_each_by_rank"):
            places = [
                place
                for place, search in enumerate(searches)
                if search.statement == name and (is_alone or search.rows <= _TOGETHER_ROWS)
            ]
            rows: list[list[Any]] = [[] for _ in places]
            if places:
                arguments = self.columns([searches[place] for place in places])
                for row in await connection.fetch(sql(name), *arguments):
                    rows[row["search"] - 1].append(row)
            for place, its_rows in zip(places, rows, strict=True):
                found[place] = self._memories(searches[place], its_rows)
        return found

    async def _large_hits(self, connection: Connection, search: Prepared) -> list[Memory]:
        async with connection.transaction(readonly=True):
            await connection.execute(sql("plan_for_values"))
            rows = await connection.fetch(sql(search.statement), *self.arguments(search))
        return self._memories(search, rows)

    def arguments(self, search: Prepared) -> tuple[Any, ...]:
        """Of search_large."""
        candidates = max(self._settings.search_candidates, search.call.query.top_k)
        return (*_values(search), search.fuses_by_rank, candidates, search.rarest)

    def columns(self, together: Sequence[Prepared]) -> list[tuple[Any, ...]]:
        """Of the other two, an array for each parameter."""
        return list(zip(*map(_values, together), strict=True))

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


def _weights(ranking: Ranking, share: float) -> ScoreWeights:
    by_rank = fuses_by_rank(ranking) and share > 0
    return ScoreWeights(
        similarity=ranking.alpha,
        recency=1.0 - ranking.alpha,
        importance=ranking.importance_weight,
        cosine=None if by_rank else 1.0 - share,
        lexical=None if by_rank else share,
    )


def _values(search: Prepared) -> tuple[Any, ...]:
    """The parameters that all search statements share, in their order."""
    query, filters = search.call.query, search.call.query.filters
    return (
        query.agent_id,
        query.user_id,
        Vector(search.call.embedding),  # asyncpg takes arrays apart
        search.call.generation,
        query.top_k,
        query.ranking.alpha,
        query.ranking.half_life_days,
        query.ranking.importance_weight,
        filters.memory_type,
        filters.metadata,
        filters.created_after,
        filters.created_before,
        filters.min_score,
        query.as_of,
        search.weights,
        search.share,
    )
