"""Runs of reembedding that are killed, given up, backed up, or tried twice."""

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
    filled,
    locked,
    move,
    table,
)


class Killed(BaseException):
    """As if the process had ended there."""


def killed_before_each_step(monkeypatch: pytest.MonkeyPatch, steps: set[str]) -> Iterator[None]:
    """Runs that each end before a statement that none before has ended at, kept in `steps`."""

    class Counted:
        def __getattr__(self, name: str) -> Statement:
            if name not in steps:
                steps.add(name)
                raise Killed(name)
            statement: Statement = getattr(sql, name)
            return statement

    with monkeypatch.context() as patched:
        patched.setattr(reembedding, "sql", Counted())
        while True:
            yield


async def test_a_run_that_ends_anywhere_is_gone_on_with(
    dsn: str, postgres_store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = await filled(postgres_store)
    embedded = 0
    steps = set[str]()
    for _ in killed_before_each_step(monkeypatch, steps):
        model = Model(WIDER)
        try:
            await move(dsn, model, parallel=1)
        except Killed:
            pass
        else:
            break
        finally:
            embedded += len(model.embedded)
        await check_searches(postgres_store, await _active(postgres_store), contents[:2])
    assert {"begin_reembedding", "set_next_embeddings", "create_next_index"} <= steps
    assert {"create_missing_index", "switch_embeddings", "check_embeddings"} <= steps
    # What was done is not done again.
    assert len(contents) < embedded <= len(contents) + 2 * reembedding.PAGE_ROWS
    await check_searches(postgres_store, WIDER, contents[:5])
    assert (await table(dsn))["checks"] == ["memories_memory_type_check"]


async def test_an_index_that_was_left_half_built_is_built_anew(
    dsn: str, pool: Pool, postgres_store: PostgresStore
) -> None:
    contents = await filled(postgres_store)
    async with locked(dsn) as connection:
        await reembedding.begin(connection, WIDER)
        await Run(connection, dsn, Settings(), Model(WIDER), WIDER, 1).build()
        await connection.execute(
            "update pg_index set indisvalid = false from pg_class "
            "where pg_class.oid = indexrelid and relname like 'memories_embedding_next%'"
        )
    await move(dsn, Model(WIDER))
    async with pool.acquire() as connection:
        assert await connection.fetchval("select bool_and(indisvalid) from pg_index")
    await check_searches(postgres_store, WIDER, contents[:3])


async def test_giving_up_leaves_what_was(dsn: str, postgres_store: PostgresStore) -> None:
    contents = await filled(postgres_store)
    before = await table(dsn)
    async with locked(dsn) as connection:
        await reembedding.begin(connection, WIDER)
        await Run(connection, dsn, Settings(), Model(WIDER), WIDER, 1).build()
        assert await reembedding.progress(connection) == reembedding.Progress(WIDER, 150, 150)
        await reembedding.abandon(connection)
        assert await reembedding.progress(connection) is None
    assert await table(dsn) == before
    await check_searches(postgres_store, IDENTITY, contents[:3])


async def test_a_backup_made_during_a_run_can_be_gone_on_with(
    dsn: str, empty_dsn: str, postgres_store: PostgresStore, tmp_path: Path
) -> None:
    contents = await filled(postgres_store)
    async with locked(dsn) as connection:
        await reembedding.begin(connection, WIDER)
        page = await reembedding.missing(connection, None)
        rows = await Model(WIDER).embed(page.contents, "passage", WIDER)
        await reembedding.store(connection, page, rows)
        dump, manifest, _ = await write_backup(dsn, StoreSettings(), tmp_path, 7)
    assert manifest.embedding is not None
    assert manifest.embedding.model == IDENTITY.name

    await load_backup(empty_dsn, StoreSettings(), dump, manifest, False, lambda *_: None)
    pool = Pool(empty_dsn, StoreSettings())
    restored = build_store(pool, StoreSettings())
    await check_searches(restored, IDENTITY, contents[:3])
    model = Model(WIDER)
    await move(empty_dsn, model)
    assert len(model.embedded) == len(contents) - len(page)
    await check_searches(restored, WIDER, contents[:3])
    await pool.close()


async def test_one_run_at_a_time(dsn: str) -> None:
    async with locked(dsn):
        with pytest.raises(ReembeddingFailed, match="another"):
            async with locked(dsn):
                pass
    async with locked(dsn):
        pass


async def _active(store: PostgresStore) -> ModelIdentity:
    try:
        await store.generations.adopt_generation(WIDER)
    except ModelMismatch:
        return IDENTITY
    return WIDER
