"""The repository of searches: it reads how frequent the queries' terms are, then finds and ranks
candidates."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import compress
from typing import Any

from deployments.domain.embeddings import Embeddings
from deployments.domain.errors import GenerationRetired, MemexError
from deployments.domain.memories import Memory
from deployments.domain.ranking import lexical_share
from deployments.domain.rate_limits import RateLimit
from deployments.domain.search import Deferred, SearchCall, SearchQuery
from deployments.store.generations.active import active_generation
from deployments.store.lexical.lexicon import Lexicon, QueryTerms
from deployments.store.memories.rate_limits import RateLimits
from deployments.store.postgres.pool import Connection, Pool
from deployments.store.postgres.rows import memory_of
from deployments.store.searches.explanation import explanation
from deployments.store.searches.large import Bound, LargeSearch
from deployments.store.searches.pages import Page, searches_of
from deployments.store.searches.prepared import Prepared
from deployments.store.searches.tuning import SearchTuning
from deployments.store.settings import StoreSettings
from deployments.store.sql import Statement, sql

_Span = tuple[str, str, int, datetime | None, datetime | None]
"""A scope (agent, user) with its key, and a span of time in it."""


class SearchRepository:
    """Implements the BatchedSearches port, for scopes of any size."""

    def __init__(
        self,
        pool: Pool,
        settings: StoreSettings,
        lexicon: Lexicon,
        large: LargeSearch,
        tuning: SearchTuning,
        rate_limits: RateLimits,
        count: Callable[[str, int], None],
    ) -> None:
        self._pool = pool
        self._settings = settings
        self._lexicon = lexicon
        self.large = large
        self._tuning = tuning
        self._rate_limits = rate_limits
        self._count = count

    async def search(
        self,
        query: SearchQuery,
        embedding: Embeddings,
        generation: int,
        rate_limit: RateLimit | None,
    ) -> list[Memory]:
        call = SearchCall(query, embedding, generation, rate_limit)
        (outcome,) = await self.search_each([call])
        if isinstance(outcome, MemexError):
            raise outcome
        assert not isinstance(outcome, Deferred)  # a single call is never deferred
        return outcome

    async def search_each(
        self, calls: Sequence[SearchCall]
    ) -> list[list[Memory] | MemexError | Deferred]:
        async with self._pool.acquire() as connection:
            refusals = await self._rate_limits.hit_each(
                connection, [(call.query.agent_id, call.rate_limit) for call in calls]
            )
            is_granted = [refusal is None for refusal in refusals]
            outcomes = await self._find_each(connection, list(compress(calls, is_granted)))
        self._count("search", sum(isinstance(outcome, list) for outcome in outcomes))
        remaining = iter(outcomes)
        return [refusal or next(remaining) for refusal in refusals]

    async def prepare(self, connection: Connection, calls: Sequence[SearchCall]) -> list[Prepared]:
        """Read the terms' frequencies and the scopes' sizes, for all calls in one statement."""
        shares = [self._lexical_share(call.query) for call in calls]
        terms = await self._lexicon.query_all(
            [
                (call.query.agent_id, call.query.user_id, call.query.text if share else "")
                for call, share in zip(calls, shares, strict=True)
            ]
        )
        spans = list(dict.fromkeys(map(_span, calls, terms)))
        agent_ids, user_ids, scope_keys, created_after, created_before = (
            [span[field] for span in spans] for field in range(5)
        )
        rows = await connection.fetch(
            *sql.term_frequencies(
                keys=list({key for entry in terms for key in (entry.scope_key, *entry.counts)}),
                agent_ids=agent_ids,
                user_ids=user_ids,
                scope_keys=scope_keys,
                created_after=created_after,
                created_before=created_before,
                exact_rows=self._settings.exact_search_rows,
            )
        )
        changed = await self._changed_since(connection, calls)
        # No two scopes share a key.
        frequencies = {row["term_key"]: row["memories"] for row in rows if row["scope"] is None}
        sizes = {row["scope"]: row["memories"] for row in rows if row["scope"] is not None}
        rows_of_spans = {span: sizes[number] for number, span in enumerate(spans, 1)}
        return [
            self._prepared(
                call,
                entry,
                frequencies,
                share,
                rows_of_spans[_span(call, entry)],
                index in changed,
            )
            for index, (call, entry, share) in enumerate(zip(calls, terms, shares, strict=True))
        ]

    async def _changed_since(self, connection: Connection, calls: Sequence[SearchCall]) -> set[int]:
        """The indexes of the calls whose scope has changed since their `as_of`."""
        with_time = [index for index, call in enumerate(calls) if call.query.as_of is not None]
        if not with_time:
            return set()
        queries = [calls[index].query for index in with_time]
        rows = await connection.fetch(
            *sql.scopes_changed_since(
                agent_ids=[query.agent_id for query in queries],
                user_ids=[query.user_id for query in queries],
                as_of=[query.as_of for query in queries],
            )
        )
        return {with_time[row["place"] - 1] for row in rows}

    def _prepared(
        self,
        call: SearchCall,
        terms: QueryTerms,
        frequencies: Mapping[int, int],
        share: float,
        rows: int,
        has_changed: bool,
    ) -> Prepared:
        # Memories may have had terms then that none has now.
        weights = terms.weights(frequencies, with_unknown=has_changed)
        spare = self._tuning.spare_candidates if call.query.avoids_copies else 0
        return Prepared(
            call=call,
            weights=weights,
            lexical_share=share if weights.indices() else 0.0,
            terms=terms,
            frequencies=frequencies,
            rows=rows,
            scope_rows=frequencies.get(terms.scope_key, 0),
            is_large=rows > self._settings.exact_search_rows,
            has_changed=has_changed,
            limit=call.query.top_k + spare,
        )

    async def _find_each(
        self, connection: Connection, calls: Sequence[SearchCall]
    ) -> list[list[Memory] | GenerationRetired | Deferred]:
        """Each call's hits, best first. A slow call is deferred because the others would wait for
        it, unless it is the only one."""
        pages = await self._pages(connection, calls)
        outcomes: list[list[Memory] | GenerationRetired | Deferred] = [Deferred()] * len(calls)
        pending = [n for n, page in enumerate(pages) if len(calls) == 1 or self._is_quick(page)]
        while pending:
            searches = [search for n in pending for search in pages[n].searches]
            rows = iter(await self._rows_each(connection, searches))
            incomplete = []
            for n in pending:
                if pages[n].choose([next(rows) for _ in pages[n].searches], self._tuning):
                    outcomes[n] = self._memories(pages[n])
                else:
                    incomplete.append(n)
            pending = incomplete
        # A statement also finds nothing if the call's generation is retired.
        empty = [index for index, outcome in enumerate(outcomes) if outcome == []]
        if empty:
            active = await active_generation(connection)
            for index in empty:
                if calls[index].generation != active:
                    outcomes[index] = GenerationRetired()
        return outcomes

    async def _pages(self, connection: Connection, calls: Sequence[SearchCall]) -> list[Page]:
        searches = [searches_of(call) for call in calls]
        prepared = iter(await self.prepare(connection, [one for each in searches for one in each]))
        return [
            Page(call, [next(prepared) for _ in each])
            for call, each in zip(calls, searches, strict=True)
        ]

    async def _rows_each(
        self, connection: Connection, searches: Sequence[Prepared]
    ) -> list[Sequence[Any]]:
        """The rows of each search, best first."""
        if len(searches) > 1 and all(map(_is_shareable, searches)):
            return await self._find_together(connection, searches)
        return [await self._find_one(connection, search) for search in searches]

    async def _find_one(self, connection: Connection, search: Prepared) -> Sequence[Any]:
        include_superseded = search.call.query.include_superseded
        if search.has_changed:
            statement = sql.search_as_of(
                **search.values_of_one, include_superseded=include_superseded
            )
            return [*await connection.fetch(*statement)]
        if include_superseded:
            statement = sql.search_with_superseded(**search.values_of_one)
            return [*await connection.fetch(*statement)]
        if search.is_large:
            return await self.large.rows(connection, search)
        return [*await connection.fetch(*together(statement_of(search), [search]))]

    async def _find_together(
        self, connection: Connection, searches: Sequence[Prepared]
    ) -> list[Sequence[Any]]:
        """Make the searches in one statement for each kind of fusion."""
        outcomes: list[Sequence[Any]] = [()] * len(searches)
        for statement in (sql.search_each_weighted, sql.search_each_by_rank):
            indexes = [
                index for index, search in enumerate(searches) if statement_of(search) is statement
            ]
            if not indexes:
                continue
            rows_of_searches: list[list[Any]] = [[] for _ in indexes]
            chosen = [searches[index] for index in indexes]
            for row in await connection.fetch(*together(statement, chosen)):
                rows_of_searches[row["search"] - 1].append(row)
            for index, rows in zip(indexes, rows_of_searches, strict=True):
                outcomes[index] = rows
        return outcomes

    def _is_quick(self, page: Page) -> bool:
        rows = sum(search.rows for search in page.searches)
        return rows <= self._tuning.max_shared_rows and all(map(_is_shareable, page.searches))

    def _lexical_share(self, query: SearchQuery) -> float:
        return lexical_share(query.ranking, self._lexicon.settings.lexical_weight)

    def _memories(self, page: Page) -> list[Memory]:
        query = page.query
        if not query.explain:
            return [memory_of(hit.item, hit.item["score"]) for hit in page.hits]
        share = self._lexical_share(query)
        memories = []
        for hit in page.hits:
            chunk = query.chunks[hit.search] if query.chunks else None
            terms = self._lexicon.analyzer.of_query(chunk or query.text)
            matched_terms = self._lexicon.matched_terms(terms, hit.item["content"])
            explained = explanation(query, hit, share, matched_terms, chunk)
            memories.append(memory_of(hit.item, hit.item["score"], explained))
        return memories


def _is_shareable(search: Prepared) -> bool:
    """Whether the search can share a statement with others."""
    return not (search.is_large or search.has_changed or search.call.query.include_superseded)


def statement_of(search: Prepared) -> Statement:
    """The statement for a small scope; it makes one search or several."""
    return sql.search_each_by_rank if search.fuses_by_rank else sql.search_each_weighted


def together(statement: Statement, searches: Sequence[Prepared]) -> Bound:
    """The statement with an array for each parameter: one entry for each of the searches."""
    values_of_searches = [search.values for search in searches]
    return statement(
        **{name: [values[name] for values in values_of_searches] for name in values_of_searches[0]}
    )


def _span(call: SearchCall, terms: QueryTerms) -> _Span:
    query, filters = call.query, call.query.filters
    bounds = filters.created_after, filters.created_before
    return query.agent_id, query.user_id, terms.scope_key, *bounds
