"""The checks of `memex doctor` on a real database."""

import asyncio
from pathlib import Path

import asyncpg
import numpy as np
import pytest

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.memories import NewMemory
from deployments.embedder.settings import DEFAULT_MODEL
from deployments.runtime.ids import uuid7
from deployments.store.store import PostgresStore
from serve_app.operations.diagnose import doctor, status
from serve_app.operations.diagnose.checks import Check
from serve_app.operations.diagnose.database_checks import _connected
from serve_app.settings import Settings, load_settings

NAMES = ["Postgres", "pgvector", "migrations", "memories", "ids"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"MEMEX_DATA_DIR": str(tmp_path)})


async def examine(dsn: str, settings: Settings) -> dict[str, Check]:
    checks = await _connected(dsn, settings, is_embedded=False)
    assert [check.name for check in checks] == NAMES
    return {check.name: check for check in checks}


async def test_new_database_passes_all_checks(empty_dsn: str, settings: Settings) -> None:
    checks = await examine(empty_dsn, settings)
    assert {check.state for check in checks.values()} == {"ok"}
    assert "to be created at the first start" in checks["pgvector"].found
    assert "none yet; the first start applies" in checks["migrations"].found
    assert await status._count_memories(empty_dsn, settings) == {}


async def test_database_in_use_passes_all_checks(
    dsn: str, settings: Settings, postgres_store: PostgresStore
) -> None:
    await store_one(postgres_store, DEFAULT_MODEL, "int8")
    checks = await examine(dsn, settings)
    assert {check.state for check in checks.values()} == {"ok"}
    assert checks["memories"].found == f"embedded with {DEFAULT_MODEL} (int8)"
    async with postgres_store.pool.acquire() as connection:
        version = await connection.fetchval("show server_version")
    assert checks["Postgres"].found.startswith(f"{version}, ")
    assert await status._count_memories(dsn, settings) == {
        "memories": 1,
        "memories_are_exact": True,
    }


@pytest.mark.parametrize(("model", "precision"), [("other/model", "int8"), (DEFAULT_MODEL, "fp32")])
async def test_memories_of_another_model_fail_if_a_setting_contradicts_it(
    dsn: str, tmp_path: Path, postgres_store: PostgresStore, model: str, precision: str
) -> None:
    await store_one(postgres_store, model, precision)
    environ = {"MEMEX_DATA_DIR": str(tmp_path)}
    check = (await examine(dsn, load_settings(environ)))["memories"]
    assert check.state == "ok"  # no setting names a model, so that the memories' model is used
    environ["MEMEX_EMBEDDING_PRECISION"] = "int8"
    check = (await examine(dsn, load_settings(environ)))["memories"]
    assert check.state == "failed"
    assert model in check.found
    assert "MEMEX_EMBEDDING_MODEL" in check.todo


@pytest.mark.parametrize(
    ("stored", "environ", "found"),
    [
        ((DEFAULT_MODEL, "fp32"), {}, f"{DEFAULT_MODEL} fp32: "),
        (("no/such-model", "fp32"), {}, "no/such-model is not known to fastembed"),
        ((DEFAULT_MODEL, "fp32"), {"MEMEX_EMBEDDING_PRECISION": "int8"}, f"{DEFAULT_MODEL} int8: "),
    ],
)
async def test_doctor_checks_the_model_that_a_start_would_use(
    dsn: str,
    tmp_path: Path,
    postgres_store: PostgresStore,
    monkeypatch: pytest.MonkeyPatch,
    stored: tuple[str, str],
    environ: dict[str, str],
    found: str,
) -> None:
    await store_one(postgres_store, *stored)
    for name, value in {"DATABASE_URL": dsn, "MEMEX_DATA_DIR": str(tmp_path), **environ}.items():
        monkeypatch.setenv(name, value)
    checks = await asyncio.to_thread(lambda: list(doctor.examine()))
    (model,) = [check for check in checks if check.name == "model"]
    assert model.found.startswith(found)


async def store_one(store: PostgresStore, model: str, precision: str) -> None:
    identity = ModelIdentity(model, "1", precision, 384)
    generation = await store.generations.adopt_generation(identity)
    row = np.zeros((1, 384), np.float32)
    row[0, 0] = 1
    await store.inserts.insert([NewMemory(uuid7(), "agent", "user", "text")], row, generation, None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "update schema_migrations set checksum = 'x' where version = 1",
            "was changed after it was applied",
        ),
        (
            "insert into schema_migrations (version, name, checksum) "
            "values (9999, '9999_later', 'x')",
            "from a newer memex",
        ),
    ],
)
async def test_changed_or_newer_migrations_fail_the_check(
    dsn: str, settings: Settings, change: str, words: str
) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(change)
    await connection.close()
    check = (await examine(dsn, settings))["migrations"]
    assert check.state == "failed"
    assert words in check.found
    assert check.todo


async def test_missing_database_is_reported(dsn: str, settings: Settings) -> None:
    missing = dsn.replace("/test_", "/no_such_")
    (check,) = await _connected(missing, settings, is_embedded=False)
    assert "there is no such database" in check.found
