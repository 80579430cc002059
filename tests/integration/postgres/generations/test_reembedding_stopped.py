"""Re-embedding runs that are killed, abandoned, backed up, or started twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.errors import ModelMismatch, ReembeddingFailed
from deployments.store.generations import reembedding
from deployments.store.postgres.pool import Pool
from deployments.store.settings import StoreSettings
from deployments.store.sql import Statement, sql
from deployments.store.store import PostgresStore, build_store
from serve_app.operations.backup.backup import write_backup
from serve_app.operations.backup.restore import load_backup
from serve_app.operations.reembed.run import Run
from serve_app.settings import Settings
from tests.support.fakes.embedder import IDENTITY
from tests.support.postgres.reembedding import (
    WIDER,
    Model,
    check_searches,
    fill_with_sentences,
    locked_connection,
    reembed,
    table_state,
)


class Killed(BaseException):
    """Raised in place of a statement, as if the process had been killed before it."""


def kill_before_each_step(monkeypatch: pytest.MonkeyPatch, steps: set[str]) -> Iterator[None]:
    """Let each iteration's run be killed before the first statement whose name is not in `steps`,
    and add that name."""

    class KillingSql:
        def __getattr__(self, name: str) -> Statement:
            if name not in steps:
                steps.add(name)
                raise Killed(name)
            statement: Statement = getattr(sql, name)
            return statement

    with monkeypatch.context() as patched:
        patched.setattr(reembedding, "sql", KillingSql())
        while True:
            yield


async def test_run_continues_after_being_killed_before_any_statement(
    dsn: str, postgres_store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = await fill_with_sentences(postgres_store)
    embedded = 0
    steps = set[str]()
    for _ in kill_before_each_step(monkeypatch, steps):
        model = Model(WIDER)
        try:
            await reembed(dsn, model, parallel=1)
        except Killed:
            pass
        else:
            break
        finally:
            embedded += len(model.embedded_texts)
        await check_searches(postgres_store, await _active(postgres_store), contents[:2])
    assert {"begin_reembedding", "set_next_embeddings", "create_next_index"} <= steps
    assert {"create_missing_index", "switch_embeddings", "check_embeddings"} <= steps
    # Memories that were already embedded are not embedded again.
    assert len(contents) < embedded <= len(contents) + 2 * reembedding.PAGE_ROWS
    await check_searches(postgres_store, WIDER, contents[:5])
    assert (await table_state(dsn))["checks"] == ["memories_memory_type_check"]


async def test_invalid_index_of_a_killed_run_is_rebuilt(
    dsn: str, pool: Pool, postgres_store: PostgresStore
) -> None:
    contents = await fill_with_sentences(postgres_store)
    async with locked_connection(dsn) as connection:
        await reembedding.begin(connection, WIDER)
        await Run(connection, dsn, Settings(), Model(WIDER), WIDER, 1).build()
        await connection.execute(
            "update pg_index set indisvalid = false from pg_class "
            "where pg_class.oid = indexrelid and relname like 'memories_embedding_next%'"
        )
    await reembed(dsn, Model(WIDER))
    async with pool.acquire() as connection:
        assert await connection.fetchval("select bool_and(indisvalid) from pg_index")
    await check_searches(postgres_store, WIDER, contents[:3])


async def test_abandoning_a_run_restores_the_table(dsn: str, postgres_store: PostgresStore) -> None:
    contents = await fill_with_sentences(postgres_store)
    before = await table_state(dsn)
    async with locked_connection(dsn) as connection:
        await reembedding.begin(connection, WIDER)
        await Run(connection, dsn, Settings(), Model(WIDER), WIDER, 1).build()
        assert await reembedding.progress(connection) == reembedding.Progress(WIDER, 150, 150)
        await reembedding.abandon(connection)
        assert await reembedding.progress(connection) is None
    assert await table_state(dsn) == before
    await check_searches(postgres_store, IDENTITY, contents[:3])


async def test_run_continues_from_a_restored_backup(
    dsn: str, empty_dsn: str, postgres_store: PostgresStore, tmp_path: Path
) -> None:
    contents = await fill_with_sentences(postgres_store)
    async with locked_connection(dsn) as connection:
        await reembedding.begin(connection, WIDER)
        page = await reembedding.missing(connection, None)
        vectors = await Model(WIDER).embed(page.contents, "passage", WIDER)
        await reembedding.store(connection, page, vectors)
        dump, manifest, _ = await write_backup(dsn, StoreSettings(), tmp_path, 7)
    assert manifest.embedding is not None
    assert manifest.embedding.model == IDENTITY.name

    await load_backup(empty_dsn, StoreSettings(), dump, manifest, False, lambda *_: None)
    pool = Pool(empty_dsn, StoreSettings())
    restored_store = build_store(pool, StoreSettings())
    await check_searches(restored_store, IDENTITY, contents[:3])
    model = Model(WIDER)
    await reembed(empty_dsn, model)
    assert len(model.embedded_texts) == len(contents) - len(page)
    await check_searches(restored_store, WIDER, contents[:3])
    await pool.close()


async def test_second_run_at_the_same_time_is_refused(dsn: str) -> None:
    async with locked_connection(dsn):
        with pytest.raises(ReembeddingFailed, match="another"):
            async with locked_connection(dsn):
                pass
    async with locked_connection(dsn):
        pass


async def _active(store: PostgresStore) -> ModelIdentity:
    try:
        await store.generations.adopt_generation(WIDER)
    except ModelMismatch:
        return IDENTITY
    return WIDER
