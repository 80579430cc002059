"""A call's page of hits: the searches it takes, and the choice among the rows that they return."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from deployments.domain.embeddings import Embeddings
from deployments.domain.search import SearchCall
from deployments.domain.searching.pages import Found, Hit, page_of
from deployments.store.searches.prepared import Prepared
from deployments.store.searches.tuning import SearchTuning

_NO_EMBEDDINGS: Embeddings = np.empty((0, 0), dtype=np.float32)


def searches_of(call: SearchCall) -> list[SearchCall]:
    """The searches of a call: one for each chunk of its query, or the call itself."""
    query = call.query
    if not query.chunks:
        return [call]
    return [
        replace(call, query=replace(query, text=chunk, chunks=()), embedding=row)
        for chunk, row in zip(query.chunks, call.embedding, strict=True)
    ]


class Page:
    """The page of a call, from the rows of its `searches`."""

    def __init__(self, call: SearchCall, searches: Sequence[Prepared]) -> None:
        self.query = call.query
        self.searches = list(searches)
        self.hits: list[Hit[Any]] = []
        """Their items are rows."""

    def choose(self, rows: Sequence[Sequence[Any]], tuning: SearchTuning) -> bool:
        """Choose the hits from each search's rows. False if more rows are needed: then `searches`
        are those to make next."""
        limit = self.searches[0].limit
        found = [_found(rows_of_one, self.query.avoids_copies) for rows_of_one in rows]
        page = page_of(found, self.query.top_k, self.query.diversity, limit)
        self.hits = page.hits
        if page.is_complete or limit >= tuning.max_candidates:
            return True
        deeper = min(limit * tuning.deeper_factor, tuning.max_candidates)
        self.searches = [search.deeper(deeper) for search in self.searches]
        return False


def _found(rows: Sequence[Any], with_embeddings: bool) -> Found[Any]:
    ids = [row["id"] for row in rows]
    scores = [row["score"] for row in rows]
    return Found(rows, ids, scores, _embeddings(rows) if with_embeddings else None)


def _embeddings(rows: Sequence[Any]) -> Embeddings:
    """`(N, D) float32`, from vectors as pgvector sends them: four bytes with the number of
    dimensions, then big-endian floats."""
    sent = np.frombuffer(b"".join([row["embedding"] for row in rows]), dtype=">f4")
    return sent.reshape(len(rows), -1)[:, 1:].astype(np.float32) if rows else _NO_EMBEDDINGS
