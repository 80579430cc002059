"""Backups put back into a real database: what comes back, and what is left alone when it cannot."""

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
    back_up,
    connected,
    everything,
    fill_in,
    look,
    no_progress,
    opened,
    restored,
    rows,
)
from tests.support.postgres.memories import fill, sentences, unit_vectors


async def test_the_same_searches_give_the_same_scores(dsn: str, tmp_path: Path) -> None:
    await fill_in(dsn)
    before, stored = await look(dsn), await everything(dsn)
    dump = await back_up(dsn, tmp_path)
    async with opened(dsn) as store:
        await store.memories.forget("agent", "user")
        await fill(store, 30, contents=sentences(30))
    assert await look(dsn) != before

    await restored(dsn, dump, replace=True)
    assert await everything(dsn) == stored
    assert await look(dsn) == before


async def test_a_new_database_takes_a_backup(dsn: str, empty_dsn: str, tmp_path: Path) -> None:
    await fill_in(dsn)
    dump = await back_up(dsn, tmp_path)
    await restored(empty_dsn, dump)
    assert await everything(empty_dsn) == await everything(dsn)
    assert await look(empty_dsn) == await look(dsn)

    catalogue = (
        "select indexdef from pg_indexes where schemaname = 'public' order by 1",
        "select tgname, tgenabled::text from pg_trigger where not tgisinternal order by 1",
        "select sequencename, last_value from pg_sequences order by 1",
    )
    for statement in catalogue:
        assert await rows(empty_dsn, statement) == await rows(dsn, statement)


async def test_large_scopes_are_searched_through_the_index(dsn: str, tmp_path: Path) -> None:
    """The graph is built anew, and here holds so few that it finds all of them."""
    settings = StoreSettings(exact_search_rows=10)
    await fill_in(dsn)
    before = await look(dsn, settings)
    await restored(dsn, await back_up(dsn, tmp_path), replace=True)
    assert await look(dsn, settings) == before


async def test_what_was_restored_can_be_written_to(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    await fill_in(dsn)
    await restored(empty_dsn, await back_up(dsn, tmp_path))
    async with opened(empty_dsn) as store:
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
    # The frequencies of words are counted on from where they stood.
    left = (
        "select term_key, sum(memories) from (table document_frequencies union all "
        "table document_frequency_changes) t group by 1 having sum(memories) <> 0"
    )
    assert await rows(empty_dsn, left) == []


async def test_memories_that_are_there_are_not_replaced_unasked(dsn: str, tmp_path: Path) -> None:
    await fill_in(dsn)
    dump, stored = await back_up(dsn, tmp_path), await everything(dsn)
    with pytest.raises(BackupFailed, match=r"holds 161 memories already; --replace"):
        await restored(dsn, dump)
    assert await everything(dsn) == stored


async def test_a_database_in_use_is_left_alone(dsn: str, tmp_path: Path) -> None:
    await fill_in(dsn)
    dump, stored = await back_up(dsn, tmp_path), await everything(dsn)
    async with opened(dsn) as service:
        await service.health.ping()
        with pytest.raises(BackupFailed, match="in use, by 1 more session of the same user"):
            await restored(dsn, dump, replace=True, leave_timeout_s=0.3)
    assert await everything(dsn) == stored


def cut(dump: Path) -> None:
    """So that its checksum still fits."""
    data = dump.read_bytes()[: dump.stat().st_size // 2]
    dump.write_bytes(data)
    changes = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    beside = manifest_of(dump)
    manifest = Manifest.model_validate_json(beside.read_bytes()).model_copy(update=changes)
    beside.write_text(manifest.model_dump_json())


async def test_a_failure_half_way_leaves_what_was_there(dsn: str, tmp_path: Path) -> None:
    await fill_in(dsn)
    dump = await back_up(dsn, tmp_path)
    cut(dump)
    async with opened(dsn) as store:
        await fill(store, 5)
    stored, before = await everything(dsn), await look(dsn)
    with pytest.raises(BackupFailed, match=r"pg_restore failed: .*end of file"):
        await restored(dsn, dump, replace=True)
    assert await everything(dsn) == stored
    assert await look(dsn) == before


@pytest.mark.parametrize("moment", ["restoring memories", "indexing"])
async def test_stopping_half_way_leaves_what_was_there(
    dsn: str, tmp_path: Path, moment: str
) -> None:
    await fill_in(dsn)
    dump = await back_up(dsn, tmp_path)
    async with opened(dsn) as store:
        await fill(store, 5)
    stored = await everything(dsn)
    seen: list[str] = []

    def stop(what: str, _done: int, _total: int) -> None:
        if what == moment and not seen:
            seen.append(what)
            task.cancel()

    task = asyncio.create_task(load_backup(dsn, SETTINGS, dump, read_manifest(dump), True, stop))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen
    assert await everything(dsn) == stored


async def test_more_memories_than_the_manifest_says_are_refused(dsn: str, tmp_path: Path) -> None:
    await fill_in(dsn)
    dump, stored = await back_up(dsn, tmp_path), await everything(dsn)
    manifest = read_manifest(dump).model_copy(update={"memories": 160})
    with pytest.raises(BackupFailed, match="gave 161 memories, not the 160"):
        await load_backup(dsn, SETTINGS, dump, manifest, True, no_progress)
    assert await everything(dsn) == stored


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

    await restored(dsn, dump)
    applied = [name for (name,) in await rows(dsn, "select name from schema_migrations order by 1")]
    assert applied == [migration.name for migration in read_migrations()]
    async with opened(dsn) as store:
        found = await store.memories.get("agent", memory)
        assert found is not None
        assert found.content == "old"


async def test_vectors_of_another_width_come_back(dsn: str, empty_dsn: str, tmp_path: Path) -> None:
    wide = ModelIdentity("fake/wide", "1", "fp32", 768)
    async with opened(dsn) as store:
        generation = await store.generations.adopt_generation(wide)
        vector = np.ones((1, 768), dtype=np.float32) / np.sqrt(768)
        [memory] = await store.inserts.insert(
            [NewMemory(uuid7(), "agent", "user", "wide")], vector, generation, None
        )
    dump = await back_up(dsn, tmp_path)
    await restored(empty_dsn, dump)
    await restored(dsn, dump, replace=True)
    for each in (dsn, empty_dsn):
        async with opened(each) as store:
            assert await store.generations.adopt_generation(wide) == generation
            query = SearchQuery("agent", "user", "wide", 1, Ranking(1.0, mode="semantic"))
            [hit] = await store.searches.search(query, vector[0], generation, None)
            assert (hit.id, hit.score) == (memory.id, 1.0)
        definition = "select indexdef from pg_indexes where indexname = 'memories_embedding'"
        assert "halfvec(768)" in (await rows(each, definition))[0][0]


async def test_tables_that_are_not_memexes_are_not_dropped(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    dump = await back_up(dsn, tmp_path)
    async with connected(empty_dsn) as connection:
        await connection.execute("create table memories (mine) as values (1)")
    with pytest.raises(BackupFailed, match='"memories" already exists'):
        await restored(empty_dsn, dump, replace=True)
    async with connected(empty_dsn) as connection:
        await connection.execute(*sql.create_migrations_table())
        await connection.execute(*sql.record_migration(version=1, name="theirs", checksum="x"))
    with pytest.raises(MigrationRefused, match="migration theirs"):
        await restored(empty_dsn, dump, replace=True)
    with pytest.raises(MigrationRefused, match="migration theirs"):
        await back_up(empty_dsn, tmp_path)
    assert await rows(empty_dsn, "table memories") == [(1,)]
