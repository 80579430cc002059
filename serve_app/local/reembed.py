"""`memex reembed`: moves all memories to another embedding model, with the service running or not.

A running service brings up an Embedder of the new model, whose replicas do the work and then answer
for it; without one, the model runs in this process.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from tqdm import tqdm

from deployments.domain.errors import BadSetting, ReembeddingFailed, Unavailable
from deployments.domain.ports import Encoder
from deployments.domain.types import Embeddings, ModelIdentity, TextKind
from deployments.embedder.load import load_encoder
from deployments.embedder.settings import DEFAULT_MODEL, EmbeddingSettings
from deployments.store import reembedding
from deployments.store.generations import active_identity
from deployments.store.migrate import migrate, read_migrations
from deployments.store.pool import Connection, Pool
from deployments.store.queries import sql
from serve_app.local import database, embedder_app, stopping, stored_model
from serve_app.settings import DATABASE_URL, Settings

_LOOK_EVERY_S = 0.5
_LEAVE_TIMEOUT_S = 3.0
_COUNT_TIMEOUT_S = 3_600.0
_TRIES = 6
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 5.0
_BAR = "memex: {desc} {bar:30} {n_fmt}/{total_fmt} memories"


class Embeds(Protocol):
    """What is needed of an embedder."""

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings: ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for; None: as it is, or as the run in progress has it."""

    model: str | None
    precision: str | None
    parallel: int


def reembed(settings: Settings, wish: Wish) -> None:
    """Begin or go on, and switch in the end. Can be stopped at any time before that.

    Raises StartupError, Unavailable, ReembeddingFailed.
    """
    cluster = embedder_app.address(settings)
    with database.reached(settings) as dsn, contextlib.ExitStack() as undo:
        embedding = stopping.run(_choose(dsn, settings, wish, is_served=cluster is not None))
        encoder = _load(settings, embedding)
        identity = encoder.identity
        if cluster is not None:
            undo.enter_context(embedder_app.joined(settings, cluster))
        moved = stopping.run(
            _reembed(dsn, settings, embedding, encoder, wish.parallel, cluster is not None)
        )
        stopping.too_late()
        print(f"memex: {moved:,} memories are embedded with {identity}", flush=True)
        if stored_model.is_set(settings):
            names = " ".join(f"{k}={v}" for k, v in stored_model.variables(identity).items())
            print(f"memex: from the next start on, set {names}", flush=True)


def tell_status(settings: Settings) -> None:
    """One line."""

    async def read(dsn: str) -> str:
        async with _opened(dsn, settings) as connection:
            progress = await reembedding.progress(connection)
            active = await active_identity(connection)
        if progress is None:
            return f"no run in progress; in use is {active or 'no model yet'}"
        return (
            f"{progress.done:,} of {progress.memories:,} memories are embedded with "
            f"{progress.identity}; in use is still {active}"
        )

    with database.reached(settings) as dsn:
        print(f"memex: {stopping.run(read(dsn))}", flush=True)


def abandon(settings: Settings) -> None:
    """Drop what a run has built. Raises ReembeddingFailed where there is none or one is at work."""

    async def drop(dsn: str) -> ModelIdentity:
        async with _opened(dsn, settings) as connection:
            await reembedding.lock(connection)
            identity = await reembedding.building_identity(connection)
            if identity is None:
                raise ReembeddingFailed("there is no run in progress")
            await reembedding.abandon(connection)
            return identity

    cluster = embedder_app.address(settings)
    with database.reached(settings) as dsn:
        given_up = stopping.run(drop(dsn))
        print(f"memex: what was embedded with {given_up} has been dropped", flush=True)
        if cluster is not None:
            with embedder_app.joined(settings, cluster):
                in_use = stopping.run(_in_use(dsn, settings))
                embedder_app.take_down(but=in_use)


def chosen(
    wish: Wish, active: ModelIdentity | None, building: ModelIdentity | None
) -> EmbeddingSettings:
    """The model to move to. Raises ReembeddingFailed, BadSetting."""
    base = building or active
    if base is None:
        raise ReembeddingFailed(
            "there are no memories to move: set MEMEX_EMBEDDING_MODEL and "
            "MEMEX_EMBEDDING_PRECISION instead"
        )
    if wish.model is None and wish.precision is None and building is None:
        raise ReembeddingFailed("say where to: --model, --precision, or both")
    model = wish.model or base.name
    if building is not None and model != building.name:
        raise _other_run(building)
    if wish.precision is not None and model != DEFAULT_MODEL:
        raise BadSetting(f"--precision is of {DEFAULT_MODEL}; {model} has that of its file")
    precision = wish.precision or (base.precision if model == base.name else "int8")
    if model != DEFAULT_MODEL:
        return EmbeddingSettings(model=model)
    return EmbeddingSettings.model_validate({"model": model, "precision": precision})


def check_same_run(identity: ModelIdentity, building: ModelIdentity | None) -> None:
    """Raises ReembeddingFailed where a run to another model is in progress."""
    if building is not None and building != identity:
        raise _other_run(building)


def _other_run(building: ModelIdentity) -> ReembeddingFailed:
    return ReembeddingFailed(
        f"a run to {building} is in progress: go on with it (`memex reembed`), or give it up "
        "(`memex reembed --abandon`)"
    )


async def _choose(dsn: str, settings: Settings, wish: Wish, is_served: bool) -> EmbeddingSettings:
    async with _opened(dsn, settings) as connection:
        if not is_served:
            await _check_alone(connection)
        return chosen(
            wish,
            await active_identity(connection),
            await reembedding.building_identity(connection),
        )


async def _check_alone(connection: Connection) -> None:
    """A service that we cannot reach would be left without the new model."""
    if not os.environ.get(DATABASE_URL):
        return  # the data folder is locked by us
    deadline = time.monotonic() + _LEAVE_TIMEOUT_S  # sessions of our own may still be leaving
    while await connection.fetchval(sql("count_other_sessions")):
        if time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_EVERY_S)
            continue
        raise ReembeddingFailed(
            "the database is in use, but the Ray cluster of its service is not known here: run "
            "this where `memex serve` runs, set RAY_ADDRESS, or stop the service"
        )


def _load(settings: Settings, embedding: EmbeddingSettings) -> Encoder:
    """Here, where what is wrong with it is said; replicas find it downloaded."""
    look = "memex: model {desc} {bar:30} {n_fmt}/{total_fmt}"
    with tqdm(total=1, bar_format=look, file=sys.__stderr__, disable=None) as bar:

        def show(label: str, done: int, total: int) -> None:
            bar.total, bar.n = total, done
            bar.set_description_str(label)

        encoder = load_encoder(embedding, settings.models_dir, os.cpu_count() or 1, show)
        encoder.encode(["warm"], "passage")
        bar.n = bar.total
        bar.set_description_str("ready")
    return encoder


async def _reembed(
    dsn: str,
    settings: Settings,
    embedding: EmbeddingSettings,
    encoder: Encoder,
    parallel: int,
    is_served: bool,
) -> int:
    """How many memories there are."""
    identity = encoder.identity
    async with _opened(dsn, settings) as connection:
        await reembedding.lock(connection)
        await reembedding.finish(connection)  # what an earlier run left
        building = await reembedding.building_identity(connection)
        check_same_run(identity, building)
        active = await active_identity(connection)
        if building is None and active == identity:
            return await _memories(connection)
        embedder: Embeds = _InThisProcess(encoder)
        if is_served:
            embedder = await embedder_app.bring_up(settings, embedding, identity)
            known = {model for model in (active, identity) if model is not None}
            await asyncio.to_thread(embedder_app.take_down, but=known)
        await reembedding.begin(connection, identity)
        run = Run(connection, dsn, settings, embedder, identity, parallel if is_served else 1)
        await run.build()
        if not is_served:
            await _check_alone(connection)
        await run.switch()
        await reembedding.finish(connection)
        await reembedding.unlock(connection)
        return await _memories(connection)


async def _memories(connection: Connection) -> int:
    return int(await connection.fetchval("select count(*) from memories", timeout=_COUNT_TIMEOUT_S))


class Run:
    """From the first embedding to the switch, over a connection that holds the lock."""

    def __init__(
        self,
        connection: Connection,
        dsn: str,
        settings: Settings,
        embedder: Embeds,
        identity: ModelIdentity,
        parallel: int,
    ) -> None:
        self._connection = connection
        self._dsn = dsn
        self._settings = settings
        self._embedder = embedder
        self._identity = identity
        self._parallel = parallel

    async def build(self) -> None:
        """All embeddings but those that are added or changed meanwhile, and the indexes."""
        progress = await reembedding.progress(self._connection)
        assert progress is not None
        with _bar("embedding", progress.memories, "{rate_fmt}, {remaining} left") as bar:
            bar.update(progress.done)
            bar.unpause()
            async with self._pool() as pool:
                await self._catch_up(pool, bar.update)
        with _bar("indexing", progress.memories) as bar:
            looking = asyncio.create_task(self._look(bar))
            try:
                await reembedding.index(self._connection, self._identity.dimensions)
            finally:
                looking.cancel()
                await asyncio.wait([looking])

    async def switch(self) -> None:
        pause_s = _FIRST_PAUSE_S
        async with self._pool() as pool:
            await self._catch_up(pool, lambda _stored: None)
            while not await reembedding.try_switch(self._connection, self._embed):
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                await self._catch_up(pool, lambda _stored: None)

    async def _catch_up(self, pool: Pool, show: Callable[[int], object]) -> None:
        """Until a pass finds few."""
        while await self._fill(pool, show) > reembedding.LAST_ROWS:
            pass

    async def _fill(self, pool: Pool, show: Callable[[int], object]) -> int:
        """One pass over the memories without an embedding, to where new ones are added; how many it
        found."""
        after: UUID | None = None
        found = 0
        at_end = False
        turn = asyncio.Lock()

        async def work() -> None:
            nonlocal after, found, at_end
            while True:
                async with turn:
                    if at_end:
                        return
                    async with pool.acquire() as connection:
                        page = await reembedding.missing(connection, after)
                    at_end = len(page) < reembedding.PAGE_ROWS
                    found += len(page)
                    after = page.ids[-1] if len(page) else after
                if len(page):
                    embeddings = await self._embed(page.contents)
                    async with pool.acquire() as connection:
                        show(await reembedding.store(connection, page, embeddings))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._parallel):
                    group.create_task(work())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return found

    @contextlib.asynccontextmanager
    async def _pool(self) -> AsyncIterator[Pool]:
        bounds = {"min_pool_size": 1, "max_pool_size": self._parallel}
        pool = Pool(self._dsn, self._settings.db.model_copy(update=bounds))
        try:
            yield pool
        finally:
            await pool.close()

    async def _look(self, bar: tqdm) -> None:
        """Shows how far the index is."""
        with contextlib.suppress(Unavailable):
            async with _opened(self._dsn, self._settings) as connection:
                while True:
                    await asyncio.sleep(_LOOK_EVERY_S)
                    bar.n = min(bar.total, await reembedding.indexed(connection))
                    bar.refresh()

    async def _embed(self, texts: Sequence[str]) -> Embeddings:
        pause_s = _FIRST_PAUSE_S
        for _ in range(_TRIES - 1):
            try:
                return await self._embedder.embed(texts, "passage", self._identity)
            except Unavailable:  # a replica died, or has not started yet
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return await self._embedder.embed(texts, "passage", self._identity)


class _InThisProcess:
    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        return await asyncio.to_thread(self._encoder.encode, texts, kind)


@contextlib.asynccontextmanager
async def _opened(dsn: str, settings: Settings) -> AsyncIterator[Connection]:
    """One connection, to a database with all migrations."""
    one = settings.db.model_copy(update={"min_pool_size": 1, "max_pool_size": 1})
    pool = Pool(dsn, one, lambda connection: migrate(connection, read_migrations()))
    try:
        async with pool.acquire() as connection:
            yield connection
    finally:
        await pool.close()


async def _in_use(dsn: str, settings: Settings) -> set[ModelIdentity]:
    async with _opened(dsn, settings) as connection:
        active = await active_identity(connection)
    return set() if active is None else {active}


@contextlib.contextmanager
def _bar(what: str, total: int, more: str = "{elapsed}") -> Iterator[tqdm]:
    look = f"{_BAR}, {more}"
    with tqdm(
        total=total, desc=what, bar_format=look, unit=" memories", file=sys.__stderr__, disable=None
    ) as bar:
        yield bar
