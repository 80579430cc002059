-- Condensing memories into summaries. The statements that find memories to condense, and the purge, run for
-- all agents; no caller of the service gets their results.

-- fragment: condensable
-- The same condition as that of the index of condensable memories.
memory_type = 'episodic' and superseded_by is null and condensable and expires_at is null

-- name: scopes_to_condense
-- Up to max_scopes scopes, due or not, by agent and user. Steps from scope to scope in the index: reads no
-- row of the table, and of each scope only enough entries to decide whether it has more than the threshold.
with recursive scopes as (
    (
        select agent_id, user_id
        from memories
        where {{condensable}} and (agent_id, user_id) > (:after_agent_id::text, :after_user_id::text)
        order by agent_id, user_id
        limit 1
    )
    union all
    select n.agent_id, n.user_id
    from scopes s, lateral (
        select agent_id, user_id
        from memories
        where {{condensable}} and (agent_id, user_id) > (s.agent_id, s.user_id)
        order by agent_id, user_id
        limit 1
    ) as n
)
select s.agent_id, s.user_id, exists (
    select from memories
    where {{condensable}} and agent_id = s.agent_id and user_id = s.user_id
    offset :threshold::int
    limit 1
) as is_due
from scopes s
limit :max_scopes::int;

-- name: oldest_condensable
-- The scope's oldest condensable memories; none unless there are more than the threshold.
select id, content, embedding, importance, metadata, created_at, updated_at
from memories
where {{condensable}} and agent_id = :agent_id and user_id = :user_id
    and exists (
        select from memories
        where {{condensable}} and agent_id = :agent_id and user_id = :user_id
        offset :threshold::int
        limit 1
    )
order by created_at, id
limit :max_rows::int;

-- name: leave_as_it_is
-- Excludes a summary from being condensed again.
update memories set condensable = false where agent_id = :agent_id and id = :summary_id;

-- name: supersede
-- Hides the sources that are unchanged since they were read, and returns how many.
with hidden as (
    update memories m
    set superseded_by = :summary_id::uuid, superseded_at = now()
    from unnest(:ids::uuid[], :updated_at::timestamptz[]) as n (id, updated_at)
    where m.agent_id = :agent_id and m.user_id = :user_id
        and m.id = n.id and m.updated_at = n.updated_at
        and m.superseded_by is null and m.condensable and m.expires_at is null
        and m.memory_type = 'episodic'
    returning 1
)
select count(*) from hidden;

-- name: sources_of
-- A summary's sources, oldest first.
select {{columns}}
from memories
where agent_id = :agent_id and superseded_by = :summary_id and {{alive}}
order by created_at, id;

-- name: purge_superseded
-- Deletes the sources of up to max_summaries summaries, of all agents. Deletes all sources of a summary or
-- none, because a part of them could not be shown again.
with deleted as (
    delete from memories
    where superseded_by = any(array(
        select distinct superseded_by
        from memories
        where superseded_at < :superseded_before
        limit :max_summaries
    ))
    returning 1
)
select count(*) from deleted;
