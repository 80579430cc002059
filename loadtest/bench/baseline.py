"""The baseline for memex: the program that most people would write, on uvicorn's workers.

    BASELINE_DSN=… BASELINE_MODELS_DIR=… uvicorn loadtest.bench.baseline:app --workers 2

For each request it embeds one text in a thread with fastembed, counts the request for a rate limit
by an upsert, and runs one more statement: an insert, or a search for the user's nearest memories
(HNSW), three times `top_k`, which Python then orders by meaning and age. With BASELINE_LEAN=1 it
embeds with the service's own encoder on one inference thread, and does not count requests. Without
batches, words and explanations, both do less than memex for each request.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from pgvector.asyncpg import register_vector
from pydantic import BaseModel, Field, TypeAdapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deployments.domain.embeddings import Embeddings
from deployments.embedder.encoders.load import load_encoder
from deployments.embedder.settings import EmbeddingSettings
from loadtest.bench.baseline_encoder import FastembedEncoder

SCHEMA = """
create extension if not exists vector;
create table memories (
    id uuid primary key,
    agent_id text not null,
    user_id text not null,
    content text not null,
    embedding vector(384) not null,
    created_at timestamptz not null
);
create index memories_scope on memories (agent_id, user_id);
create index memories_embedding on memories using hnsw (embedding vector_cosine_ops);
create unlogged table calls (
    agent_id text not null,
    operation text not null,
    minute timestamptz not null,
    number integer not null,
    primary key (agent_id, operation, minute)
);
"""
_INSERT = """
insert into memories (id, agent_id, user_id, content, embedding, created_at)
values ($1, $2, $3, $4, $5, $6)
"""
_NEAREST = """
select id, content, created_at, 1 - (embedding <=> $1) as cosine
from memories
where agent_id = $2 and user_id = $3
order by embedding <=> $1
limit $4
"""
_COUNT_CALL = """
insert into calls values ($1, $2, date_trunc('minute', now()), 1)
on conflict (agent_id, operation, minute) do update set number = calls.number + 1
"""
_ALPHA = 0.7
_HALF_LIFE_DAYS = 30.0


class MemoryIn(BaseModel):
    agent_id: str = Field(min_length=1, max_length=128)
    user_id: str = Field(min_length=1, max_length=128)
    content: str = Field(min_length=1, max_length=8_000)


class SearchIn(BaseModel):
    agent_id: str = Field(min_length=1, max_length=128)
    user_id: str = Field(min_length=1, max_length=128)
    query: str = Field(min_length=1, max_length=2_000)
    top_k: int = Field(10, ge=1, le=50)


class MemoryOut(BaseModel):
    id: UUID
    agent_id: str
    user_id: str
    content: str
    created_at: datetime
    score: float | None = None


class SearchOut(BaseModel):
    results: list[MemoryOut]
    query: str
    total: int


_MEMORY_OUT = TypeAdapter(MemoryOut)
_SEARCH_OUT = TypeAdapter(SearchOut)


class Baseline:
    """The state of one worker."""

    def __init__(self) -> None:
        models_dir = Path(os.environ["BASELINE_MODELS_DIR"])
        is_lean = os.environ.get("BASELINE_LEAN") == "1"
        self._encode = _lean_encoder(models_dir) if is_lean else FastembedEncoder(models_dir).encode
        self._counts_calls = not is_lean
        self._pool: asyncpg.Pool | None = None

    @asynccontextmanager
    async def running(self, _app: Starlette) -> AsyncIterator[None]:
        self._pool = await asyncpg.create_pool(
            os.environ["BASELINE_DSN"], min_size=1, max_size=8, init=register_vector
        )
        async with self._pool:
            yield

    async def add(self, request: Request) -> Response:
        body = MemoryIn.model_validate_json(await request.body())
        embedding = await self._embed(body.content)
        memory_id, now = uuid4(), datetime.now(UTC)
        async with self._open_pool.acquire() as connection:
            await self._count(connection, body.agent_id, "write")
            await connection.execute(
                _INSERT, memory_id, body.agent_id, body.user_id, body.content, embedding, now
            )
        memory = MemoryOut(id=memory_id, created_at=now, **body.model_dump())
        return _answer(_MEMORY_OUT.dump_json(memory), 201)

    async def search(self, request: Request) -> Response:
        body = SearchIn.model_validate_json(await request.body())
        embedding = await self._embed(body.query)
        async with self._open_pool.acquire() as connection:
            await self._count(connection, body.agent_id, "search")
            rows = await connection.fetch(
                _NEAREST, embedding, body.agent_id, body.user_id, body.top_k * 3
            )
        now = datetime.now(UTC)
        hits = [
            MemoryOut(
                id=row["id"],
                agent_id=body.agent_id,
                user_id=body.user_id,
                content=row["content"],
                created_at=row["created_at"],
                score=round(_score(row["cosine"], (now - row["created_at"]).total_seconds()), 4),
            )
            for row in rows
        ]
        hits.sort(key=lambda hit: hit.score or 0.0, reverse=True)
        best = hits[: body.top_k]
        answer = SearchOut(results=best, query=body.query, total=len(best))
        return _answer(_SEARCH_OUT.dump_json(answer), 200)

    @property
    def _open_pool(self) -> asyncpg.Pool:
        assert self._pool is not None
        return self._pool

    async def _embed(self, text: str) -> Embeddings:
        return await asyncio.to_thread(self._encode, text)

    async def _count(self, connection: Any, agent_id: str, operation: str) -> None:
        if self._counts_calls:
            await connection.execute(_COUNT_CALL, agent_id, operation)


def _lean_encoder(models_dir: Path) -> Callable[[str], Embeddings]:
    encoder = load_encoder(EmbeddingSettings(), models_dir, threads=1)

    def encode(text: str) -> Embeddings:
        first: Embeddings = encoder.encode([text], "query")[0]
        return first

    return encode


def _score(cosine: float, age_s: float) -> float:
    recency: float = 0.5 ** (age_s / 86_400 / _HALF_LIFE_DAYS)
    return _ALPHA * cosine + (1 - _ALPHA) * recency


def _answer(body: bytes, status: int) -> Response:
    return Response(body, status, media_type="application/json")


async def _health(_request: Request) -> Response:
    return _answer(b"{}", 200)


def app() -> Starlette:
    baseline = Baseline()
    return Starlette(
        routes=[
            Route("/v1/memories", baseline.add, methods=["POST"]),
            Route("/v1/memories/search", baseline.search, methods=["POST"]),
            Route("/health", _health),
        ],
        lifespan=baseline.running,
    )
