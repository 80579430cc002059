"""`memex fix-ids` and the doctor's check of ids, on a real database."""

import asyncio
from pathlib import Path

import pytest

from deployments.domain.memories import NewMemory
from deployments.runtime.ids import uuid7
from deployments.store.store import PostgresStore
from serve_app.operations.diagnose.database_checks import _connected
from serve_app.operations.fix_ids import fix_ids
from serve_app.settings import load_settings
from tests.support.fakes.embedder import IDENTITY
from tests.support.postgres.memories import unit_vectors


async def test_ids_are_shown_and_then_renamed(
    dsn: str,
    postgres_store: PostgresStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", dsn)
    settings = load_settings({"MEMEX_DATA_DIR": str(tmp_path)})
    generation = await postgres_store.generations.adopt_generation(IDENTITY)
    for agent in ("bob", "bob\n"):
        memory = NewMemory(uuid7(), agent, "u", "text")
        await postgres_store.inserts.insert([memory], unit_vectors(1), generation, None)

    async def check() -> tuple[str, str]:
        checks = await _connected(dsn, settings, is_embedded=False)
        return checks[-1].name, checks[-1].state

    assert await check() == ("ids", "failed")
    await asyncio.to_thread(fix_ids, settings, False)
    shown = capsys.readouterr().out.splitlines()
    assert shown == [
        "agent 'bob\\n', user 'u': 1 memory → agent 'bob', user 'u' "
        "(joins the memories that are there)",
        "memex: 1 scope to rename; memex fix-ids --apply renames them",
    ]
    assert await check() == ("ids", "failed")
    await asyncio.to_thread(fix_ids, settings, True)
    assert capsys.readouterr().out.splitlines()[-1] == "memex: 1 scope renamed"
    assert await check() == ("ids", "ok")
    await asyncio.to_thread(fix_ids, settings, True)
    assert capsys.readouterr().out == "memex: all ids follow the rules\n"
