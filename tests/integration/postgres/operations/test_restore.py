"""Restoring backups into a real database: what is restored, and what a refusal leaves unchanged."""

import asyncio
import hashlib
from pathlib import Path

import numpy as np
import pytest

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.errors import BackupFailed, MigrationRefused
from deployments.domain.memories import MemoryPatch, NewMemory
from deployments.domain.ranking import Ranking
from deployments.domain.search import SearchQuery
from deployments.runtime.ids import uuid7
from deployments.store.postgres.migrate import migrate, read_migrations
from deployments.store.settings import StoreSettings
from deployments.store.sql import sql
from serve_app.operations.backup.files import Manifest, manifest_of, read_manifest
from serve_app.operations.backup.restore import load_backup
from tests.support.fakes.embedder import IDENTITY
from tests.support.postgres.backups import (
    SETTINGS,
    all_rows,
    back_up,
    client_view,
    fill_database,
    no_progress,
    open_store,
    restore,
    rows,
)
from tests.support.postgres.databases import connected
from tests.support.postgres.memories import fill, sentences, unit_vectors


async def test_restore_replaces_later_changes(dsn: str, tmp_path: Path) -> None:
    await fill_database(dsn)
    before, stored = await client_view(dsn), await all_rows(dsn)
    dump = await back_up(dsn, tmp_path)
    async with open_store(dsn) as store:
        await store.memories.forget("agent", "user")
        await fill(store, 30, contents=sentences(30))
    assert await client_view(dsn) != before

    await restore(dsn, dump, replace=True)
    assert await all_rows(dsn) == stored
    assert await client_view(dsn) == before


async def test_restore_into_an_empty_database(dsn: str, empty_dsn: str, tmp_path: Path) -> None:
    await fill_database(dsn)
    dump = await back_up(dsn, tmp_path)
    await restore(empty_dsn, dump)
    assert await all_rows(empty_dsn) == await all_rows(dsn)
    assert await client_view(empty_dsn) == await client_view(dsn)

    statements = (
        "select indexdef from pg_indexes where schemaname = 'public' order by 1",
        "select tgname, tgenabled::text from pg_trigger where not tgisinternal order by 1",
        "select sequencename, last_value from pg_sequences order by 1",
    )
    for statement in statements:
        assert await rows(empty_dsn, statement) == await rows(dsn, statement)


async def test_restore_rebuilds_the_vector_index(dsn: str, tmp_path: Path) -> None:
    """The HNSW graph may differ, but it has so few memories that searches find all of them."""
    settings = StoreSettings(exact_search_rows=10)
    await fill_database(dsn)
    before = await client_view(dsn, settings)
    await restore(dsn, await back_up(dsn, tmp_path), replace=True)
    assert await client_view(dsn, settings) == before


async def test_restored_database_can_be_written_to(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    await fill_database(dsn)
    await restore(empty_dsn, await back_up(dsn, tmp_path))
    async with open_store(empty_dsn) as store:
        generation = await store.generations.adopt_generation(IDENTITY)
        memory = (await store.memories.list_page("agent", "user", page_size=1)).memories[0]
        for content in ("a quokka", "a quokka and a numbat"):
            patch = MemoryPatch(content=content)
            await store.memories.update(
                "agent", memory.id, patch, unit_vectors(1)[0], generation, None
            )
        versions = await store.memories.history("agent", memory.id, None, 10)
        assert versions is not None
        assert [version.content for version in versions] == ["a quokka", memory.content]
        query = SearchQuery("agent", "user", "numbat", 1, Ranking(1.0, mode="lexical"))
        assert [
            hit.id
            for hit in await store.searches.search(query, unit_vectors(1)[0], generation, None)
        ] == [memory.id]
        await store.memories.forget("agent", "user")
        await store.memories.forget("agent", "other")
    # Document frequencies continue from the restored counts.
    remaining = (
        "select term_key, sum(memories) from (table document_frequencies union all "
        "table document_frequency_changes) t group by 1 having sum(memories) <> 0"
    )
    assert await rows(empty_dsn, remaining) == []


async def test_existing_memories_are_not_replaced_without_the_option(
    dsn: str, tmp_path: Path
) -> None:
    await fill_database(dsn)
    dump, stored = await back_up(dsn, tmp_path), await all_rows(dsn)
    with pytest.raises(BackupFailed, match=r"holds 161 memories already; --replace"):
        await restore(dsn, dump)
    assert await all_rows(dsn) == stored


async def test_restore_into_a_database_in_use_is_refused(dsn: str, tmp_path: Path) -> None:
    await fill_database(dsn)
    dump, stored = await back_up(dsn, tmp_path), await all_rows(dsn)
    async with open_store(dsn) as service:
        await service.health.ping()
        with pytest.raises(BackupFailed, match="in use by 1 other session of the same user"):
            await restore(dsn, dump, replace=True, leave_timeout_s=0.3)
    assert await all_rows(dsn) == stored


def truncate(dump: Path) -> None:
    """Cut off the second half of the dump, with a new checksum in the manifest."""
    data = dump.read_bytes()[: dump.stat().st_size // 2]
    dump.write_bytes(data)
    changes = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    path = manifest_of(dump)
    manifest = Manifest.model_validate_json(path.read_bytes()).model_copy(update=changes)
    path.write_text(manifest.model_dump_json())


async def test_failed_restore_changes_nothing(dsn: str, tmp_path: Path) -> None:
    await fill_database(dsn)
    dump = await back_up(dsn, tmp_path)
    truncate(dump)
    async with open_store(dsn) as store:
        await fill(store, 5)
    stored, before = await all_rows(dsn), await client_view(dsn)
    with pytest.raises(BackupFailed, match=r"pg_restore failed: .*end of file"):
        await restore(dsn, dump, replace=True)
    assert await all_rows(dsn) == stored
    assert await client_view(dsn) == before


@pytest.mark.parametrize("step", ["restoring memories", "indexing"])
async def test_cancelled_restore_changes_nothing(dsn: str, tmp_path: Path, step: str) -> None:
    await fill_database(dsn)
    dump = await back_up(dsn, tmp_path)
    async with open_store(dsn) as store:
        await fill(store, 5)
    stored = await all_rows(dsn)
    cancelled_at: list[str] = []

    def cancel(name: str, _done: int, _total: int) -> None:
        if name == step and not cancelled_at:
            cancelled_at.append(name)
            task.cancel()

    task = asyncio.create_task(load_backup(dsn, SETTINGS, dump, read_manifest(dump), True, cancel))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled_at
    assert await all_rows(dsn) == stored


async def test_dump_with_more_memories_than_the_manifest_is_refused(
    dsn: str, tmp_path: Path
) -> None:
    await fill_database(dsn)
    dump, stored = await back_up(dsn, tmp_path), await all_rows(dsn)
    manifest = read_manifest(dump).model_copy(update={"memories": 160})
    with pytest.raises(BackupFailed, match="holds 161 memories, but its manifest says 160"):
        await load_backup(dsn, SETTINGS, dump, manifest, True, no_progress)
    assert await all_rows(dsn) == stored


async def test_newer_migrations_are_applied_to_an_older_backup(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    memory = uuid7()
    async with connected(empty_dsn) as connection:
        await migrate(connection, read_migrations()[:4])
        generation = await connection.fetchval(
            *sql.add_generation(
                model=IDENTITY.name,
                revision="1",
                precision="fp32",
                dimensions=IDENTITY.dimensions,
            )
        )
        await connection.execute(
            "insert into memories (id, agent_id, user_id, content, embedding, generation, "
            "importance, memory_type, metadata, created_at, updated_at) values "
            "($1, 'agent', 'user', 'old', $2::text::vector, $3, 1, 'semantic', '{}', now(), now())",
            memory, str(unit_vectors(1)[0].tolist()), generation,
        )  # fmt: skip
    dump = await back_up(empty_dsn, tmp_path)
    assert len(read_manifest(dump).migrations) == 4

    await restore(dsn, dump)
    applied = [name for (name,) in await rows(dsn, "select name from schema_migrations order by 1")]
    assert applied == [migration.name for migration in read_migrations()]
    async with open_store(dsn) as store:
        found = await store.memories.get("agent", memory)
        assert found is not None
        assert found.content == "old"


async def test_restore_of_embeddings_with_other_dimensions(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    wide = ModelIdentity("fake/wide", "1", "fp32", 768)
    async with open_store(dsn) as store:
        generation = await store.generations.adopt_generation(wide)
        vector = np.ones((1, 768), dtype=np.float32) / np.sqrt(768)
        [memory] = await store.inserts.insert(
            [NewMemory(uuid7(), "agent", "user", "wide")], vector, generation, None
        )
    dump = await back_up(dsn, tmp_path)
    await restore(empty_dsn, dump)
    await restore(dsn, dump, replace=True)
    for database in (dsn, empty_dsn):
        async with open_store(database) as store:
            assert await store.generations.adopt_generation(wide) == generation
            query = SearchQuery("agent", "user", "wide", 1, Ranking(1.0, mode="semantic"))
            [hit] = await store.searches.search(query, vector[0], generation, None)
            assert (hit.id, hit.score) == (memory.id, 1.0)
        definition = "select indexdef from pg_indexes where indexname = 'memories_embedding'"
        assert "halfvec(768)" in (await rows(database, definition))[0][0]


async def test_restore_never_drops_tables_of_another_application(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    dump = await back_up(dsn, tmp_path)
    async with connected(empty_dsn) as connection:
        await connection.execute("create table memories (mine) as values (1)")
    with pytest.raises(BackupFailed, match='"memories" already exists'):
        await restore(empty_dsn, dump, replace=True)
    async with connected(empty_dsn) as connection:
        await connection.execute(*sql.create_migrations_table())
        await connection.execute(*sql.record_migration(version=1, name="theirs", checksum="x"))
    with pytest.raises(MigrationRefused, match="migration theirs"):
        await restore(empty_dsn, dump, replace=True)
    with pytest.raises(MigrationRefused, match="migration theirs"):
        await back_up(empty_dsn, tmp_path)
    assert await rows(empty_dsn, "table memories") == [(1,)]
