"""Other ways to store vectors, by the statement for the nearest alone: what the product might do.

Each choice is built beside the product's own table and index, measured and, unless it is a second
index that a kept database may hold, dropped.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import numpy as np
from pgvector.asyncpg import register_vector
from tqdm import tqdm

from loadtest.scale.data import DIMENSIONS, USER, Question, World
from loadtest.scale.figures import Latency, recall
from loadtest.scale.load import build_index

_HALF = f"embedding::halfvec({DIMENSIONS})"
_ASKED = {"vector": "$3", "halfvec": f"$3::halfvec({DIMENSIONS})"}
_STORED = {"vector": "embedding", "halfvec": _HALF}
_OPERATORS = {"vector": "vector_cosine_ops", "halfvec": "halfvec_cosine_ops"}
_CANDIDATES = 200
_TOP_K = 10
_WARM_UP = 30
_TABLE = "memories_partitioned"
_COLUMNS = "id, agent_id, user_id, created_at, embedding"


@dataclass(frozen=True, slots=True)
class Compared:
    table: str
    embedding: str
    """Of the index: vector or halfvec."""
    scope: str
    ef_search: int
    latency: Latency
    recall: float | None
    fewest_rows: int
    plan: str
    """The nodes that the first search went through."""


class Comparison:
    def __init__(self, dsn: str, world: World, build: dict[str, str]) -> None:
        self._dsn = dsn
        self._world = world
        self._build_settings = build
        self.index_s: dict[str, float] = {}
        self.index_bytes: dict[str, int] = {}

    async def run(
        self,
        scopes: Sequence[str],
        count: int,
        embeddings: Sequence[str],
        efs: Sequence[int],
        partitions: Sequence[int],
    ) -> list[Compared]:
        found: list[Compared] = []
        asked = {scope: self._world.questions(scope, _WARM_UP + count) for scope in scopes}
        best = {scope: exact(self._world, asked[scope][_WARM_UP:]) for scope in scopes}
        async with self._session() as session:
            for embedding in embeddings:
                if embedding == "halfvec":
                    await self._build(session, "memories", embedding)
                found += await self._measure_all(session, "memories", embedding, efs, asked, best)
            for parts in partitions:
                await self._partition(session, parts)
                rows = await self._measure_all(session, _TABLE, "vector", efs, asked, best)
                names = (f"hash x{parts}" for _ in rows)
                found += [_renamed(row, name) for row, name in zip(rows, names, strict=True)]
                await session.execute(f"drop table {_TABLE}")
        return found

    async def _build(self, session: asyncpg.Connection, table: str, embedding: str) -> None:
        name = f"{table}_{embedding}_scale"
        if await session.fetchval("select to_regclass($1)", name) is None:
            started = time.perf_counter()
            definition = (
                f"create index {name} on {table} "
                f"using hnsw (({_STORED[embedding]}) {_OPERATORS[embedding]})"
            )
            await build_index(self._dsn, session, name, definition)
            self.index_s[name] = time.perf_counter() - started
        self.index_bytes[name] = await session.fetchval(
            "select sum(pg_relation_size(relid))::bigint from pg_partition_tree($1)", name
        ) or await session.fetchval("select pg_relation_size($1::regclass)", name)

    async def _partition(self, session: asyncpg.Connection, parts: int) -> None:
        await session.execute(f"drop table if exists {_TABLE}")
        await session.execute(
            f"create table {_TABLE} (like memories including storage) partition by hash (agent_id)"
        )
        for part in range(parts):
            await session.execute(
                f"create table {_TABLE}_{part} partition of {_TABLE} "
                f"for values with (modulus {parts}, remainder {part})"
            )
        kept = _COLUMNS.split(", ")
        dropped = await session.fetch(
            "select attname from pg_attribute where attrelid = $1::regclass and attnum > 0 "
            "and not attisdropped and attname <> all($2::text[])",
            _TABLE,
            kept,
        )
        drops = ", ".join(f"drop column {row['attname']}" for row in dropped)
        await session.execute(f"alter table {_TABLE} {drops}")
        await session.execute(
            f"insert into {_TABLE} ({_COLUMNS}) select {_COLUMNS} from memories",  # noqa: S608
            timeout=None,
        )
        await session.execute(
            f"create index on {_TABLE} (agent_id, user_id, created_at desc, id desc)", timeout=None
        )
        await self._build(session, _TABLE, "vector")
        await session.execute(f"vacuum analyze {_TABLE}", timeout=None)

    async def _measure_all(
        self,
        session: asyncpg.Connection,
        table: str,
        embedding: str,
        efs: Sequence[int],
        asked: dict[str, list[Question]],
        best: dict[str, list[list[tuple[str, float]]]],
    ) -> list[Compared]:
        found = []
        pairs = [(scope, ef) for scope in asked for ef in efs]
        for scope, ef in tqdm(pairs, f"{table} {embedding}", leave=False):
            await session.execute(f"set hnsw.ef_search = {ef}")
            questions = asked[scope]
            await _ask(session, table, embedding, questions[:_WARM_UP])
            times, answers = await _ask(session, table, embedding, questions[_WARM_UP:])
            shares = [
                share
                for answer, truth in zip(answers, best[scope], strict=True)
                if (share := recall(answer, truth, _TOP_K)) is not None
            ]
            plan = await session.fetch(
                f"explain (costs off) {_statement(table, embedding)}", *_arguments(questions[0])
            )
            found.append(
                Compared(
                    table,
                    embedding,
                    scope,
                    ef,
                    Latency.of(times),
                    float(np.mean(shares)),
                    min(len(answer) for answer in answers),
                    nodes(row[0] for row in plan),
                )
            )
        return found

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self._dsn, timeout=10)
        try:
            await register_vector(connection)
            settings = self._build_settings | {
                "plan_cache_mode": "force_custom_plan",
                "hnsw.iterative_scan": "relaxed_order",
            }
            for name, value in settings.items():
                await connection.execute(f"set {name} = '{value}'")
            yield connection
        finally:
            connection.terminate()


async def _ask(
    session: asyncpg.Connection, table: str, embedding: str, questions: Sequence[Question]
) -> tuple[list[float], list[list[str]]]:
    statement = await session.prepare(_statement(table, embedding))
    times, answers = [], []
    for question in questions:
        started = time.perf_counter()
        rows = await statement.fetch(*_arguments(question))
        times.append((time.perf_counter() - started) * 1_000)
        answers.append([str(row["id"]) for row in rows])
    return times, answers


def _statement(table: str, embedding: str) -> str:
    return (
        f"select id from {table} where agent_id = $1 and user_id = $2 "  # noqa: S608
        f"order by {_STORED[embedding]} <=> {_ASKED[embedding]} limit {_CANDIDATES}"
    )


def _arguments(question: Question) -> tuple[Any, ...]:
    return question.agent_id, USER, question.vector


def nodes(lines: Iterable[str]) -> str:
    """Of a plan, from the top down."""
    stripped = [line.strip() for line in lines]
    heads = [
        line.removeprefix("->").strip()
        for number, line in enumerate(stripped)
        if number == 0 or line.startswith("->")
    ]
    kept = ("Scan", "Sort", "Gather")
    return " < ".join(head for head in heads if any(word in head for word in kept))


def exact(world: World, questions: Sequence[Question]) -> list[list[tuple[str, float]]]:
    """The best of each question's agent, by cosine, from the vectors themselves."""
    best: list[list[tuple[str, float]]] = [[] for _ in questions]
    wanted = np.stack([question.vector for question in questions])
    owners = np.array([question.owner for question in questions])
    for number in tqdm(range(world.plan.batches), "exact", leave=False):
        batch = world.batch(number)
        cosines = np.where(owners[:, None] == batch.owners, wanted @ batch.vectors.T, -np.inf)
        first = np.argsort(-cosines, axis=1)[:, :_TOP_K]
        for question, rows in enumerate(first):
            new = [
                (str(batch.ids[row]), float(cosines[question, row]))
                for row in rows
                if cosines[question, row] > -np.inf
            ]
            merged = sorted(best[question] + new, key=lambda pair: -pair[1])
            best[question] = merged[:_TOP_K]
    return best


def _renamed(row: Compared, table: str) -> Compared:
    return Compared(
        table,
        row.embedding,
        row.scope,
        row.ef_search,
        row.latency,
        row.recall,
        row.fewest_rows,
        row.plan,
    )
