"""The command: chooses, checks and loads the model, does the run, and prints the result."""

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
from serve_app.operations.reembed.options import Options, check_same_run, chosen_model
from serve_app.operations.reembed.run import Embeds, Run, migrated_connection
from serve_app.operations.serve import stored_model
from serve_app.settings import DATABASE_URL, Settings

_COUNT_TIMEOUT_S = 3_600.0


def reembed(settings: Settings, options: Options) -> None:
    """Begin or continue a run, and switch at its end. It can be stopped any time before the switch.

    Raises StartupError, Unavailable, ReembeddingFailed.
    """
    cluster = embedder_app.address(settings)
    with database.shared(settings) as dsn, contextlib.ExitStack() as undo:
        embedding = stopping.run(_choose(dsn, settings, options, is_served=cluster is not None))
        encoder = _load(settings, embedding)
        identity = encoder.identity
        if cluster is not None:
            undo.enter_context(embedder_app.joined(settings, cluster))
        memories = stopping.run(
            _reembed(dsn, settings, embedding, encoder, options.parallel, cluster is not None)
        )
        stopping.ignore_signals()
        print(f"memex: {memories:,} memories are embedded with {identity}", flush=True)
        if stored_model.is_set(settings):
            names = " ".join(f"{k}={v}" for k, v in stored_model.variables(identity).items())
            print(f"memex: before the next start, set {names}", flush=True)


def print_status(settings: Settings) -> None:
    """Print in one line how far the run is."""

    async def read(dsn: str) -> str:
        async with migrated_connection(dsn, settings) as connection:
            progress = await reembedding.progress(connection)
            active = await active_identity(connection)
        if progress is None:
            return f"no run is in progress; model in use: {active or 'none yet'}"
        return (
            f"{progress.done:,} of {progress.memories:,} memories are embedded with "
            f"{progress.identity}; model in use: {active}"
        )

    with database.shared(settings) as dsn:
        print(f"memex: {stopping.run(read(dsn))}", flush=True)


def abandon(settings: Settings) -> None:
    """Drop what a run has built. Raises ReembeddingFailed if there is no run, or it is at work."""

    async def drop(dsn: str) -> ModelIdentity:
        async with migrated_connection(dsn, settings) as connection:
            await reembedding.lock(connection)
            identity = await reembedding.building_identity(connection)
            if identity is None:
                raise ReembeddingFailed("no run is in progress")
            await reembedding.abandon(connection)
            return identity

    cluster = embedder_app.address(settings)
    with database.shared(settings) as dsn:
        abandoned = stopping.run(drop(dsn))
        print(f"memex: the embeddings by {abandoned} are dropped", flush=True)
        if cluster is not None:
            with embedder_app.joined(settings, cluster):
                in_use = stopping.run(_in_use(dsn, settings))
                embedder_app.take_down(keep=in_use)


async def _choose(
    dsn: str, settings: Settings, options: Options, is_served: bool
) -> EmbeddingSettings:
    async with migrated_connection(dsn, settings) as connection:
        if not is_served:
            await _check_no_service(connection)
        return chosen_model(
            options,
            await active_identity(connection),
            await reembedding.building_identity(connection),
        )


async def _check_no_service(connection: Connection) -> None:
    """Raises ReembeddingFailed if a service that we cannot reach uses the database, because it
    would have no Embedder for the new model."""
    if not os.environ.get(DATABASE_URL):
        return  # we have locked the data folder
    if await database.other_sessions(connection, database.LEAVE_TIMEOUT_S):
        raise ReembeddingFailed(
            "the database is in use, but its service's Ray cluster is unknown: run this on the "
            "machine of `memex serve`, set RAY_ADDRESS, or stop the service"
        )


def _load(settings: Settings, embedding: EmbeddingSettings) -> Encoder:
    """Load the model in this process even if replicas do the work: errors are reported here, and
    the replicas find the model downloaded."""
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
    """Do the run; the number of memories."""
    identity = encoder.identity
    async with migrated_connection(dsn, settings) as connection:
        await reembedding.lock(connection)
        await reembedding.finish(connection)  # an earlier run may have stopped after its switch
        building = await reembedding.building_identity(connection)
        check_same_run(identity, building)
        active = await active_identity(connection)
        if building is None and active == identity:
            return await _memories(connection)
        embedder: Embeds = _InThisProcess(encoder)
        if is_served:
            embedder = await embedder_app.bring_up(settings, embedding, identity)
            known = {model for model in (active, identity) if model is not None}
            await asyncio.to_thread(embedder_app.take_down, keep=known)
        await reembedding.begin(connection, identity)
        run = Run(connection, dsn, settings, embedder, identity, parallel if is_served else 1)
        await run.build()
        if not is_served:
            await _check_no_service(connection)
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
    async with migrated_connection(dsn, settings) as connection:
        active = await active_identity(connection)
    return set() if active is None else {active}
