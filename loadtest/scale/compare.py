"""Compares other vector indexes with the product's, by only the statement for the nearest memories.

Builds each one in addition to the product's table and index, measures it, and drops it.
"""

import contextlib
import re
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import asyncpg
import numpy as np
from pgvector.asyncpg import register_vector
from tqdm import tqdm

from loadtest.scale.data import DIMENSIONS, USER, Question, World
from loadtest.scale.figures import Latency, recall
from loadtest.scale.load import build_index

PRODUCT = "product"
_HALF = f"halfvec({DIMENSIONS})"
_STORED = {"vector": "embedding", "halfvec": f"embedding::{_HALF}"}
_QUERY = {"vector": "$3", "halfvec": f"$3::{_HALF}"}
_OPTION = re.compile(r"(m|ef_construction)=\d+")
_CANDIDATES = 200
_TOP_K = 10
_WARM_UP = 30
_TABLE = "memories_partitioned"
_COLUMNS = "id, agent_id, user_id, created_at, embedding"


@dataclass(frozen=True, slots=True)
class Index:
    """`product`, which exists, or one to build, such as `halfvec:m=24:ef_construction=128`."""

    text: str
    embedding: str
    """The type it stores: vector or halfvec."""
    options: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError if `text` names no index."""
        embedding, *options = text.split(":")
        if embedding not in (PRODUCT, *_STORED) or (embedding == PRODUCT and options):
            raise ValueError(text)
        if not all(_OPTION.fullmatch(option) for option in options):
            raise ValueError(text)
        return cls(text, "halfvec" if embedding == PRODUCT else embedding, tuple(options))

    @property
    def is_built(self) -> bool:
        return self.text != PRODUCT

    def definition(self, name: str, table: str) -> str:
        options = f" with ({', '.join(self.options)})" if self.options else ""
        stored = _STORED[self.embedding]
        return (
            f"create index {name} on {table} "
            f"using hnsw (({stored}) {self.embedding}_cosine_ops){options}"
        )

    def statement(self, table: str) -> str:
        """The statement for the nearest memories. The product's index has only rows marked
        `indexed`; others have all."""
        condition = "" if self.is_built else "and indexed "
        return (
            f"select id from {table} where agent_id = $1 and user_id = $2 {condition}"  # noqa: S608
            f"order by {_STORED[self.embedding]} <=> {_QUERY[self.embedding]} limit {_CANDIDATES}"
        )


@dataclass(frozen=True, slots=True)
class Compared:
    table: str
    index: str
    scope: str
    ef_search: int
    latency: Latency
    recall: float | None
    fewest_rows: int
    plan: str
    """The nodes of the first search's plan."""


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
        indexes: Sequence[Index],
        efs: Sequence[int],
        partitions: Sequence[int],
    ) -> list[Compared]:
        """Measure all on the product's table, and the built ones also on partitioned tables."""
        questions = {scope: self._world.questions(scope, _WARM_UP + count) for scope in scopes}
        best = {scope: exact(self._world, questions[scope][_WARM_UP:]) for scope in scopes}
        built = [index for index in indexes if index.is_built]
        results: list[Compared] = []
        async with self._session() as session:
            for index in indexes:
                async with self._built(session, "memories", index):
                    results += await self._measure(session, "memories", index, efs, questions, best)
            for parts in partitions:
                await self._partition(session, parts)
                for index in built:
                    async with self._built(session, _TABLE, index):
                        rows = await self._measure(session, _TABLE, index, efs, questions, best)
                        results += [replace(row, table=f"hash x{parts}") for row in rows]
                await session.execute(f"drop table {_TABLE}")
        return results

    @contextlib.asynccontextmanager
    async def _built(
        self, session: asyncpg.Connection, table: str, index: Index
    ) -> AsyncIterator[None]:
        if not index.is_built:
            yield
            return
        name, label = "memories_compared", f"{table}, {index.text}"
        await session.execute(f"drop index if exists {name}")  # left by a stopped run
        started = time.perf_counter()
        await build_index(self._dsn, session, name, index.definition(name, table))
        self.index_s[label] = time.perf_counter() - started
        self.index_bytes[label] = await session.fetchval(
            "select sum(pg_relation_size(relid))::bigint from pg_partition_tree($1)", name
        ) or await session.fetchval("select pg_relation_size($1::regclass)", name)
        try:
            yield
        finally:
            await session.execute(f"drop index {name}")

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
        await session.execute(f"vacuum analyze {_TABLE}", timeout=None)

    async def _measure(
        self,
        session: asyncpg.Connection,
        table: str,
        index: Index,
        efs: Sequence[int],
        questions: dict[str, list[Question]],
        best: dict[str, list[list[tuple[str, float]]]],
    ) -> list[Compared]:
        results = []
        statement = index.statement(table)
        pairs = [(scope, ef) for scope in questions for ef in efs]
        for scope, ef in tqdm(pairs, f"{table} {index.text}", leave=False):
            await session.execute(f"set hnsw.ef_search = {ef}")
            await _ask(session, statement, questions[scope][:_WARM_UP])
            times, answers = await _ask(session, statement, questions[scope][_WARM_UP:])
            shares = [
                share
                for answer, truth in zip(answers, best[scope], strict=True)
                if (share := recall(answer, truth, _TOP_K)) is not None
            ]
            plan = await session.fetch(
                f"explain (costs off) {statement}", *_arguments(questions[scope][0])
            )
            results.append(
                Compared(
                    table,
                    index.text,
                    scope,
                    ef,
                    Latency.of(times),
                    float(np.mean(shares)),
                    min(len(answer) for answer in answers),
                    nodes(row[0] for row in plan),
                )
            )
        return results

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
    session: asyncpg.Connection, statement: str, questions: Sequence[Question]
) -> tuple[list[float], list[list[str]]]:
    prepared = await session.prepare(statement)
    times, answers = [], []
    for question in questions:
        started = time.perf_counter()
        rows = await prepared.fetch(*_arguments(question))
        times.append((time.perf_counter() - started) * 1_000)
        answers.append([str(row["id"]) for row in rows])
    return times, answers


def _arguments(question: Question) -> tuple[Any, ...]:
    return question.agent_id, USER, question.vector


def nodes(lines: Iterable[str]) -> str:
    """A plan's nodes that scan, sort or gather, from the top down."""
    stripped = [line.strip() for line in lines]
    heads = [
        line.removeprefix("->").strip()
        for number, line in enumerate(stripped)
        if number == 0 or line.startswith("->")
    ]
    kept = ("Scan", "Sort", "Gather")
    return " < ".join(head for head in heads if any(word in head for word in kept))


def exact(world: World, questions: Sequence[Question]) -> list[list[tuple[str, float]]]:
    """The ids and cosines of each question's nearest memories, from all of its agent's vectors."""
    best: list[list[tuple[str, float]]] = [[] for _ in questions]
    queries = np.stack([question.vector for question in questions])
    owners = np.array([question.owner for question in questions])
    for number in tqdm(range(world.plan.batches), "exact", leave=False):
        batch = world.batch(number)
        cosines = np.where(owners[:, None] == batch.owners, queries @ batch.vectors.T, -np.inf)
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
