"""memex's tables and functions in a database. A test compares them with the migrations."""

import asyncpg

# Referenced tables come before those that refer to them.
TABLES = (
    "schema_migrations",
    "embedding_generations",
    "lexicons",
    "memories",
    "memory_sketches",
    "indexed_scopes",
    "memory_versions",
    "document_frequencies",
    "document_frequency_changes",
    "rate_limits",
    "idempotency_keys",
)
FUNCTIONS = (
    "set_embedding_dimensions",
    "create_embedding_index",
    "count_added_terms",
    "count_removed_terms",
    "count_changed_terms",
    "keep_version",
    "drop_versions",
    "drop_kept_answers",
    "forget_next_embedding",
    "begin_reembedding",
    "abandon_reembedding",
    "switch_embeddings",
    "sketch_key",
    "sketch_keys",
    "keep_sketches",
    "age_days_v1",
    "recency_v1",
    "weighted_similarity_v1",
    "score_v1",
)

_SCHEMA = """
select nspname from pg_class join pg_namespace on pg_namespace.oid = relnamespace
where pg_class.oid = to_regclass('schema_migrations')
"""


async def schema(connection: asyncpg.Connection) -> str | None:
    """The schema that memex's tables are in; None if there are none."""
    found: str | None = await connection.fetchval(_SCHEMA)
    return found


async def present(connection: asyncpg.Connection) -> list[str]:
    """The `TABLES` that exist; a migration that is not applied yet may create the others."""
    rows = await connection.fetch(
        "select name from unnest($1::text[]) with ordinality as t (name, position) "
        "where to_regclass(name) is not null order by position",
        TABLES,
    )
    return [row["name"] for row in rows]
