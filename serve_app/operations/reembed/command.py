"""The command: what is chosen, checked and loaded before a run, and said after it."""

import asyncio
import contextlib
import os
from collections.abc import Sequence

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind
from deployments.domain.errors import ReembeddingFailed
from deployments.domain.ports.embedding import Encoder
from deployments.embedder.encoders.load import load_encoder
from deployments.embedder.settings import EmbeddingSettings
from deployments.store.generations import reembedding
from deployments.store.generations.active import active_identity
from deployments.store.postgres.pool import Connection
from serve_app.operations import database, stopping
from serve_app.operations.progress import progress_bar
from serve_app.operations.reembed import embedder_app
from serve_app.operations.reembed.run import Embeds, Run, opened
from serve_app.operations.reembed.wish import Wish, check_same_run, chosen
from serve_app.operations.serve import stored_model
from serve_app.settings import DATABASE_URL, Settings

_LOOK_EVERY_S = 0.5
_COUNT_TIMEOUT_S = 3_600.0


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
        async with opened(dsn, settings) as connection:
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
        async with opened(dsn, settings) as connection:
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


async def _choose(dsn: str, settings: Settings, wish: Wish, is_served: bool) -> EmbeddingSettings:
    async with opened(dsn, settings) as connection:
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
    if await database.other_sessions(connection, database.LEAVE_TIMEOUT_S):
        raise ReembeddingFailed(
            "the database is in use, but the Ray cluster of its service is not known here: run "
            "this where `memex serve` runs, set RAY_ADDRESS, or stop the service"
        )


def _load(settings: Settings, embedding: EmbeddingSettings) -> Encoder:
    """Here, where what is wrong with it is said; replicas find it downloaded."""
    with progress_bar("model {desc} {bar:30} {n_fmt}/{total_fmt}") as progress:
        threads = os.cpu_count() or 1
        encoder = load_encoder(embedding, settings.models_dir, threads, progress.step)
        encoder.encode(["warm"], "passage")
        progress.step("ready", 1, 1)
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
    async with opened(dsn, settings) as connection:
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


class _InThisProcess:
    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        return await asyncio.to_thread(self._encoder.encode, texts, kind)


async def _in_use(dsn: str, settings: Settings) -> set[ModelIdentity]:
    async with opened(dsn, settings) as connection:
        active = await active_identity(connection)
    return set() if active is None else {active}
