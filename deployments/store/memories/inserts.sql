-- Inserts: the memories of many calls in one statement.

-- name: insert_memories
-- A null created_at or updated_at is now. term_keys are sent as text, because an array of arrays would have
-- to be rectangular.
insert into memories (
    id, agent_id, user_id, content, embedding, lexicon, terms, term_keys,
    importance, memory_type, metadata, created_at, updated_at, expires_at, indexed
)
select
    n.id, n.agent_id, n.user_id, n.content, n.embedding,
    :lexicon::smallint, n.terms, n.term_keys::bigint[],
    n.importance, n.memory_type, n.metadata, coalesce(n.created_at, now()),
    coalesce(n.updated_at, now()), n.expires_at,
    exists (select from indexed_scopes s where s.agent_id = n.agent_id and s.user_id = n.user_id)
from unnest(
    :ids::uuid[], :agent_ids::text[], :user_ids::text[], :contents::text[], :embeddings::vector[],
    :generations::smallint[], :importances::float8[], :memory_types::text[], :metadata::jsonb[],
    :created_at::timestamptz[], :terms::sparsevec[], :term_keys::text[], :expires_at::timestamptz[],
    :updated_at::timestamptz[]
) as n (
    id, agent_id, user_id, content, embedding, generation, importance, memory_type, metadata,
    created_at, terms, term_keys, expires_at, updated_at
)
where n.generation = {{generation_in_use}}
on conflict (id) do nothing
returning {{columns}};

-- name: select_inserted
-- The memories that an earlier attempt of the same insert stored.
select m.id, m.agent_id, m.user_id, m.content, m.importance, m.memory_type, m.metadata,
    m.created_at, m.updated_at, m.expires_at, m.superseded_by
from unnest(:ids::uuid[], :agent_ids::text[]) as n (id, agent_id)
join memories m on m.id = n.id and m.agent_id = n.agent_id;

-- name: lock_contents
-- The locks are held until the end of the transaction, so that of two writers of identical memories the
-- second finds the first one's. All writers lock in one order, to prevent deadlocks.
select pg_advisory_xact_lock(hash)
from (
    select distinct hashtextextended(concat_ws(chr(31), agent_id, user_id, content), 0) as hash
    from unnest(:agent_ids::text[], :user_ids::text[], :contents::text[])
        as n (agent_id, user_id, content)
    order by hash
) as hashes;

-- name: touch_identical
-- If the scope holds an identical memory, gives it the newer created_at and the later expires_at of both.
-- The index finds identical memories by their term_keys (sent as text).
with identical as (
    select n.id as requested_id, n.agent_id, n.created_at, n.expires_at, existing.id
    from unnest(
        :ids::uuid[], :agent_ids::text[], :user_ids::text[], :contents::text[],
        :importances::float8[], :memory_types::text[], :metadata::jsonb[],
        :created_at::timestamptz[], :expires_at::timestamptz[], :term_keys::text[]
    ) as n (
        id, agent_id, user_id, content, importance, memory_type, metadata, created_at, expires_at,
        term_keys
    ), lateral (
        select id
        from memories
        where agent_id = n.agent_id and user_id = n.user_id and superseded_by is null and {{alive}}
            and term_keys @> n.term_keys::bigint[] and content = n.content
            and importance = n.importance and memory_type = n.memory_type
            and metadata = n.metadata
        order by created_at desc, id desc
        limit 1
    ) as existing
)
update memories m
set created_at = greatest(m.created_at, coalesce(n.created_at, now())),
    expires_at = case
        when m.expires_at is not null and n.expires_at is not null
        then greatest(m.expires_at, n.expires_at)
    end,
    updated_at = now(),
    indexed = m.indexed
        or exists (select from indexed_scopes s where s.agent_id = m.agent_id and s.user_id = m.user_id)
from identical n
where m.agent_id = n.agent_id and m.id = n.id
returning n.requested_id, m.id, m.agent_id, m.user_id, m.content, m.importance, m.memory_type,
    m.metadata, m.created_at, m.updated_at, m.expires_at, m.superseded_by;

-- name: known_ids
select id from memories where agent_id = :agent_id and id = any(:ids::uuid[]);
