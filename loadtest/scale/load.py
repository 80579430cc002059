"""Fills a database with a plan's memories, as the store itself would have written them.

Inserts them by COPY, without the triggers that count terms and without HNSW and GIN indexes; then
counts all terms at once and builds those indexes. Times each step, and records it in `scale.json`
of the data folder, so that a second run continues where the first one ended.
"""

import asyncio
import contextlib
import dataclasses
import json
import time
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
from pgvector import Vector
from pgvector.asyncpg import register_vector
from tqdm import tqdm

from deployments.domain.embeddings import ModelIdentity
from deployments.store.generations.active import adopt_generation
from deployments.store.lexical.lexicon import Lexicon
from deployments.store.lexical.upkeep import TermsUpkeep
from deployments.store.postgres.migrate import migrate, read_migrations
from deployments.store.postgres.pool import Pool
from deployments.store.settings import SearchSettings, StoreSettings
from deployments.store.store import build_store
from deployments.store.vector_index.sketches import add_sketches
from loadtest.scale.data import DIMENSIONS, USER, VERSION, Batch, Plan, World, agent_of

_MODEL = ModelIdentity("synthetic", "1", "fp32", DIMENSIONS)
_COLUMNS = (
    "id", "agent_id", "user_id", "content", "embedding", "lexicon", "terms", "term_keys",
    "importance", "memory_type", "metadata", "created_at", "updated_at", "indexed",
)  # fmt: skip
_EXACT_ROWS = StoreSettings().exact_search_rows
_LIST = """
    insert into indexed_scopes (agent_id, user_id, is_filled, has_sketches)
    values ($1, $2, true, false)
"""
_SLOW_INDEXES = """
    select c.relname as name, pg_get_indexdef(c.oid) as definition
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
    join pg_am a on a.oid = c.relam
    where i.indrelid = 'memories'::regclass and a.amname in ('hnsw', 'gin')
"""
_SIZES = """
    select 'memories' as name, pg_relation_size('memories') as bytes
    union all
    select 'memories (toast)', pg_total_relation_size(reltoastrelid)
    from pg_class where oid = 'memories'::regclass
    union all
    select indexrelid::regclass::text, pg_relation_size(indexrelid)
    from pg_index where indrelid = any(array['memories', 'memory_sketches']::regclass[])
    union all
    select 'memory_sketches', pg_relation_size('memory_sketches')
    union all
    select name, pg_total_relation_size(name::regclass)
    from unnest(array['document_frequencies', 'document_frequency_changes']) as name
"""
_POLL_S = 1.0


@dataclass(slots=True)
class State:
    plan: Plan
    version: int = 1
    """Of the data; files of version 1 do not have this field."""
    generation: int = 0
    loaded: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    """Duration of each step."""
    index_s: dict[str, float] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)
    """SQL of the indexes that are built after the load."""

    @classmethod
    def read(cls, path: Path) -> "State | None":
        if not path.exists():
            return None
        fields = json.loads(path.read_text())
        until = datetime.fromisoformat(fields["plan"].pop("until"))
        return cls(**fields | {"plan": Plan(**fields["plan"], until=until)})

    def write(self, path: Path) -> None:
        new = path.with_suffix(".new")
        new.write_text(json.dumps(dataclasses.asdict(self), indent=1, default=str) + "\n")
        new.rename(path)

    @property
    def rows_per_s(self) -> float:
        return self.plan.total / self.seconds["load"]


class Loader:
    """Fills the database of `dsn` by `plan`. `build` are Postgres settings of the session that
    builds indexes."""

    def __init__(self, dsn: str, root: Path, plan: Plan, build: dict[str, str]) -> None:
        self._dsn = dsn
        self._path = root / "scale.json"
        self._build_settings = build
        self.state = State.read(self._path) or State(plan, VERSION)

    async def run(self) -> None:
        async with _connection(self._dsn) as connection:
            for name, value in self._build_settings.items():  # migrations build indexes, too
                await connection.execute(f"set {name} = '{value}'")
            if not self.state.loaded:
                await connection.execute("drop schema public cascade; create schema public")
            await migrate(connection, read_migrations())
            if not self.state.loaded:
                await self._load(connection)
            await self._build(connection)

    async def _load(self, connection: asyncpg.Connection) -> None:
        state = self.state
        state.generation = await adopt_generation(connection, _MODEL)
        lexicon = Lexicon(SearchSettings())
        number = await TermsUpkeep(lexicon).adopt(connection)
        slow = await connection.fetch(_SLOW_INDEXES)
        state.definitions = {row["name"]: row["definition"] for row in slow}
        for name in state.definitions:
            await connection.execute(f"drop index {name}")
        await connection.execute("alter table memories disable trigger user")
        await _set_codecs(connection)
        large = [agent for agent, rows in state.plan.agents if rows > _EXACT_ROWS]
        await connection.executemany(_LIST, [(agent, USER) for agent in large])
        world = await asyncio.to_thread(World, state.plan)
        with self._timed("load"):
            with tqdm(total=state.plan.total, desc="rows", unit="row", leave=False) as bar:
                for batch_number in range(state.plan.batches):
                    batch = await asyncio.to_thread(world.batch, batch_number)
                    await connection.copy_records_to_table(
                        "memories",
                        records=_records(batch, lexicon, number, large),
                        columns=_COLUMNS,
                        timeout=None,
                    )
                    bar.update(len(batch.ids))
            await connection.execute("alter table memories enable trigger user")
        with self._timed("count terms"), _waiting("counting terms"):
            await _recount(self._dsn)
        state.loaded = True
        state.write(self._path)

    async def _build(self, connection: asyncpg.Connection) -> None:
        state = self.state
        existing = {row["name"] for row in await connection.fetch(_SLOW_INDEXES)}
        missing = {name: text for name, text in state.definitions.items() if name not in existing}
        for name, definition in missing.items():
            if name in state.index_s:
                continue  # a later migration has dropped it
            started = time.perf_counter()
            await build_index(self._dsn, connection, name, definition)
            state.index_s[name] = time.perf_counter() - started
            state.write(self._path)
        if is_unsketched := "sketches" not in state.seconds:
            with self._timed("sketches"), _waiting("sketches of memories"):
                await _sketch(self._dsn)
        if missing or is_unsketched or "vacuum" not in state.seconds:
            with self._timed("vacuum"), _waiting("vacuum analyze, checkpoint"):
                await connection.execute("vacuum analyze", timeout=None)
                await connection.execute("checkpoint", timeout=None)
            state.write(self._path)

    @contextlib.contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.state.seconds[step] = time.perf_counter() - started


async def build_index(dsn: str, connection: asyncpg.Connection, name: str, definition: str) -> None:
    """Build an index, with a progress bar from Postgres's reports."""
    building = asyncio.create_task(connection.execute(definition, timeout=None))
    try:
        async with _connection(dsn) as monitor:
            with tqdm(desc=f"index {name}", leave=False) as bar:
                while not (await asyncio.wait({building}, timeout=_POLL_S))[0]:
                    row = await monitor.fetchrow(
                        "select phase, tuples_done, tuples_total, blocks_done, blocks_total "
                        "from pg_stat_progress_create_index limit 1"
                    )
                    if row is not None:
                        kind = "blocks" if row["blocks_total"] else "tuples"
                        bar.total, bar.n = row[f"{kind}_total"] or None, row[f"{kind}_done"]
                        bar.set_postfix_str(row["phase"].removeprefix("building index: "))
        await building
    finally:
        building.cancel()


async def sizes(dsn: str) -> dict[str, int]:
    """Bytes of the tables and of each of their indexes."""
    async with _connection(dsn) as connection:
        return {row["name"]: row["bytes"] for row in await connection.fetch(_SIZES)}


async def _sketch(dsn: str) -> None:
    pool = Pool(dsn, StoreSettings(max_pool_size=1))
    try:
        await add_sketches(pool)
    finally:
        await pool.close()


async def _recount(dsn: str) -> None:
    settings = StoreSettings(max_pool_size=1)
    pool = Pool(dsn, settings)
    try:
        await build_store(pool, settings).upkeep.reindex(lambda _done, _total: None)
    finally:
        await pool.close()


def _records(
    batch: Batch, lexicon: Lexicon, number: int, large: Collection[str]
) -> Iterator[tuple[Any, ...]]:
    for row, content in enumerate(batch.contents):
        agent_id, created_at = agent_of(int(batch.owners[row])), batch.created_at[row]
        terms = lexicon.index(agent_id, USER, content)
        yield (
            batch.ids[row], agent_id, USER, content, Vector(batch.vectors[row]), number,
            terms.weights, terms.keys, batch.importances[row], batch.memory_types[row],
            batch.metadata[row], created_at, created_at, agent_id in large,
        )  # fmt: skip


async def _set_codecs(connection: asyncpg.Connection) -> None:
    """Set binary codecs, because COPY takes only these; the store's own for jsonb is text."""
    await register_vector(connection)
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + json.dumps(value, separators=(",", ":")).encode(),
        decoder=lambda value: json.loads(value[1:]),
    )


@contextlib.asynccontextmanager
async def _connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        yield connection
    finally:
        connection.terminate()  # at once, even if a statement is still running


@contextlib.contextmanager
def _waiting(text: str) -> Iterator[None]:
    with tqdm(total=0, desc=text, bar_format="{desc} …", leave=False):
        yield
