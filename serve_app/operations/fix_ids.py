"""`memex fix-ids`: renames agents and users whose ids the API refuses; the service may run."""

import asyncio

from deployments.store.ids.renaming import Renaming
from deployments.store.postgres.migrate import migrate, read_migrations
from deployments.store.postgres.pool import Pool
from deployments.store.store import build_store
from serve_app.operations import database
from serve_app.operations.progress import progress_bar
from serve_app.settings import Settings


def fix_ids(settings: Settings, is_applied: bool) -> None:
    """Print each renaming; make them if `is_applied`, with a progress bar. It can be stopped at any
    time: a scope is renamed as a whole or not at all.

    Raises StartupError, Unavailable.
    """
    with database.shared(settings) as dsn:
        asyncio.run(_fix_ids(dsn, settings, is_applied))


async def _fix_ids(dsn: str, settings: Settings, is_applied: bool) -> None:
    pool = Pool(dsn, settings.db, lambda connection: migrate(connection, read_migrations()))
    try:
        ids = build_store(pool, settings.db, settings.search).ids
        renamings = await ids.renamings()
        for renaming in renamings:
            print(_line(renaming))
        if not renamings:
            print("memex: all ids follow the rules")
        elif not is_applied:
            print(f"memex: {_scopes(renamings)} to rename; memex fix-ids --apply renames them")
        else:
            memories = sum(renaming.memories for renaming in renamings)
            layout = "renaming {bar:30} {n_fmt}/{total_fmt} memories, {remaining} left"
            with progress_bar(layout, memories) as progress:
                for renaming in renamings:
                    await ids.rename(renaming, progress.add)
            print(f"memex: {_scopes(renamings)} renamed")
    finally:
        await pool.close()


def _line(renaming: Renaming) -> str:
    noun = "memory" if renaming.memories == 1 else "memories"
    joined = " (joins the memories that are there)" if renaming.joins else ""
    return (
        f"agent {renaming.agent_id!r}, user {renaming.user_id!r}: {renaming.memories} {noun} "
        f"→ agent {renaming.new_agent_id!r}, user {renaming.new_user_id!r}{joined}"
    )


def _scopes(renamings: list[Renaming]) -> str:
    return f"{len(renamings)} scope{'' if len(renamings) == 1 else 's'}"
