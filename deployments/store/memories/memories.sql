-- Memories, one by one and by scope. No statement for callers reads or writes a memory without an agent_id.

-- fragment: columns
-- The columns of a Memory.
id, agent_id, user_id, content, importance, memory_type, metadata, created_at, updated_at,
    expires_at, superseded_by

-- fragment: alive
(expires_at is null or expires_at > now())

-- fragment: listed
-- The filters of a listing, and the start of its page.
(:memory_type::text is null or memory_type = :memory_type)
        and (:metadata::jsonpath is null or metadata @@ :metadata)
        and created_at >= coalesce(:created_after::timestamptz, '-infinity')
        and created_at < coalesce(:created_before::timestamptz, 'infinity')
        and (created_at, id) < (
            coalesce(:after_created_at::timestamptz, 'infinity'),
            coalesce(:after_id::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
        )

-- name: get_memory
select {{columns}}
from memories
where agent_id = :agent_id and id = :memory_id and {{alive}};

-- name: lock_memory
-- Waits for a running change of the memory, and returns what that left.
select {{columns}}
from memories
where agent_id = :agent_id and id = :memory_id and {{alive}}
for no key update;

-- name: list_of_user
-- In two parts, because superseded memories have their own index.
(
    select {{columns}}
    from memories
    where agent_id = :agent_id and user_id = :user_id and {{alive}} and {{listed}}
        and superseded_by is null
    order by created_at desc, id desc
    limit :max_rows::int
)
union all
(
    select {{columns}}
    from memories
    where :include_superseded::boolean
        and agent_id = :agent_id and user_id = :user_id and {{alive}} and {{listed}}
        and superseded_by is not null
    order by created_at desc, id desc
    limit :max_rows::int
)
order by created_at desc, id desc
limit :max_rows::int;

-- name: list_of_agent
select {{columns}}
from memories
where agent_id = :agent_id and {{alive}} and {{listed}}
    and (:include_superseded::boolean or superseded_by is null)
order by created_at desc, id desc
limit :max_rows::int;

-- name: user_of_shown
-- The user of a memory that is not superseded: superseded memories cannot be changed.
select user_id
from memories
where agent_id = :agent_id and id = :memory_id and superseded_by is null and {{alive}};

-- name: user_of_any
select user_id from memories where agent_id = :agent_id and id = :memory_id and {{alive}};

-- name: update_memory
-- Null leaves a column unchanged. embedding, lexicon, terms and term_keys are set with new content only.
update memories
set content = coalesce(:content::text, content),
    embedding = coalesce(:embedding::vector, embedding),
    lexicon = case when :embedding::vector is null then lexicon else :lexicon::smallint end,
    terms = coalesce(:terms::sparsevec, terms),
    term_keys = coalesce(:term_keys::bigint[], term_keys),
    importance = coalesce(:importance::float8, importance),
    memory_type = coalesce(:memory_type::text, memory_type),
    metadata = coalesce(:metadata::jsonb, metadata),
    expires_at = case when :sets_expiry::boolean then :expires_at::timestamptz else expires_at end,
    updated_at = now()
where agent_id = :agent_id and id = :memory_id and superseded_by is null and {{alive}}
    and (:embedding::vector is null or :generation::smallint = {{generation_in_use}})
returning {{columns}};

-- name: memory_versions
-- The versions, newest first, after one row without a version, which shows that the memory exists.
(
    select null::int as version, null as content, null::float8 as importance, null as memory_type,
        null::jsonb as metadata, null::timestamptz as expires_at, null::timestamptz as written_at,
        null::timestamptz as replaced_at
    from memories
    where agent_id = :agent_id and id = :memory_id and {{alive}}
)
union all
(
    select v.version, v.content, v.importance, v.memory_type, v.metadata, v.expires_at,
        v.written_at, v.replaced_at
    from memories m
    join memory_versions v on v.memory_id = m.id and v.agent_id = m.agent_id
    where m.agent_id = :agent_id and m.id = :memory_id
        and (m.expires_at is null or m.expires_at > now())
        and v.ended_by = 'change'
        and v.version < coalesce(:before_version::int, 2147483647)
    order by v.version desc
    limit :max_versions::int
);

-- name: lock_scope
-- Held until the end of the transaction by every statement that makes or undoes a summary or forgets the
-- scope, so that no summary outlives its sources.
select pg_advisory_xact_lock(
    hashtextextended(concat_ws(chr(31), 'summary', :agent_id::text, :user_id::text), 0)
);

-- name: delete_memory
-- Also deletes the sources of a summary. Returns the summary that the memory was condensed into.
delete from memories
where agent_id = :agent_id and id = :memory_id and {{alive}}
returning id, superseded_by;

-- name: erase_expired
-- Deletes an expired memory and what is kept of it. Returns whether there was anything. Of superseded
-- memories nothing is kept.
with purged as (
    delete from memories
    where agent_id = :agent_id and id = :memory_id and superseded_by is null and not {{alive}}
    returning 1
), kept as (
    delete from memory_versions
    where agent_id = :agent_id and memory_id = :memory_id
        and not exists (
            select from memories
            where agent_id = :agent_id and id = :memory_id and {{alive}}
        )
    returning 1
)
select exists (select from purged) or exists (select from kept);

-- name: forget_scope
-- Deletes a scope, and returns how many memories it had, without superseded ones.
with shown as (
    delete from memories
    where agent_id = :agent_id and user_id = :user_id and superseded_by is null
    returning expires_at
), hidden as (
    delete from memories
    where agent_id = :agent_id and user_id = :user_id and superseded_by is not null
), unlisted as (
    delete from indexed_scopes where agent_id = :agent_id and user_id = :user_id
), unkept as (
    delete from memory_versions where agent_id = :agent_id and user_id = :user_id
)
select count(*) from shown where {{alive}};

-- name: count_of_user
-- Counts in indexes only, and subtracts the expired memories that are not purged yet.
select (
    select count(*)
    from memories
    where agent_id = :agent_id and user_id = :user_id and superseded_by is null
) + (
    select count(*)
    from memories
    where :include_superseded::boolean
        and agent_id = :agent_id and user_id = :user_id and superseded_by is not null
) - (
    select count(*)
    from memories
    where agent_id = :agent_id and user_id = :user_id and expires_at <= now()
        and (:include_superseded::boolean or superseded_by is null)
);

-- name: count_of_agent
select (
    select count(*) from memories where agent_id = :agent_id
) - (
    select count(*)
    from memories
    where not :include_superseded::boolean and agent_id = :agent_id and superseded_by is not null
) - (
    select count(*)
    from memories
    where agent_id = :agent_id and expires_at <= now()
        and (:include_superseded::boolean or superseded_by is null)
);

-- name: purge_expired
-- Deletes up to max_rows expired memories of all agents, and returns only their number. For searches as of
-- an earlier time it keeps their last versions, but not those of superseded memories.
with expired as materialized (
    select * from memories where expires_at <= now() limit :max_rows for update skip locked
), kept as (
    insert into memory_versions (
        memory_id, version, agent_id, user_id, content, importance, memory_type, metadata,
        created_at, expires_at, written_at, replaced_at, ended_by, embedding, generation, lexicon,
        terms
    )
    select e.id, (
            select coalesce(max(v.version), 0) + 1 from memory_versions v where v.memory_id = e.id
        ),
        e.agent_id, e.user_id, e.content, e.importance, e.memory_type, e.metadata, e.created_at,
        e.expires_at, e.updated_at, e.expires_at, 'expiry', e.embedding, {{generation_in_use}},
        e.lexicon, e.terms
    from expired e
    where e.superseded_by is null and e.expires_at > now() - :retention::interval
), deleted as (
    delete from memories m using expired e where m.id = e.id
    returning 1
)
select count(*) from deleted;

-- name: purge_kept
-- Deletes the versions of up to max_rows memories of all agents that expired longer ago than :retention.
-- Returns only how many memories. An id may have been imported again since: later versions stay.
with overdue as materialized (
    select memory_id, agent_id, version from memory_versions
    where ended_by = 'expiry' and replaced_at <= now() - :retention::interval
    limit :max_rows
    for update skip locked
), deleted as (
    delete from memory_versions v using overdue o
    where v.memory_id = o.memory_id and v.agent_id = o.agent_id and v.version <= o.version
)
select count(*) from overdue;
