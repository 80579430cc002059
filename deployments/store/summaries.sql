-- Statements of the life of summaries; like queries.sql. Those that find what is to be condensed, and
-- the purge, run for all agents and answer none.

-- fragment: condensable
-- As the index of what is says it.
memory_type = 'episodic' and superseded_by is null and condensable and expires_at is null

-- name: scopes_to_condense
-- $1 after agent_id, $2 after user_id, $3 threshold, $4 at most so many scopes, due or not. In the
-- index's order, from scope to scope: it reads no row of the table, and of each scope no more than
-- tells whether it has more than the threshold.
with recursive scopes as (
    (
        select agent_id, user_id
        from memories
        where {{condensable}} and (agent_id, user_id) > ($1::text, $2::text)
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
    offset $3::int
    limit 1
) as is_due
from scopes s
limit $4::int;

-- name: oldest_condensable
-- $1 agent_id, $2 user_id, $3 threshold, $4 at most so many. Nothing where there are not more than the
-- threshold.
select id, content, embedding, importance, metadata, created_at, updated_at
from memories
where {{condensable}} and agent_id = $1 and user_id = $2
    and exists (
        select from memories
        where {{condensable}} and agent_id = $1 and user_id = $2
        offset $3::int
        limit 1
    )
order by created_at, id
limit $4::int;

-- name: lock_scope
-- $1 agent_id, $2 user_id: held to the end of the transaction, by what makes or undoes a summary and by
-- what forgets the scope, so that no summary outlives what it was made of.
select pg_advisory_xact_lock(hashtextextended(concat_ws(chr(31), 'summary', $1::text, $2::text), 0));

-- name: leave_as_it_is
-- $1 agent_id, $2 id of a summary
update memories set condensable = false where agent_id = $1 and id = $2;

-- name: supersede
-- $1 agent_id, $2 user_id, $3 ids of sources, $4 when each was last changed, $5 id of their summary. How
-- many: one that has changed or gone since it was read is not among them.
with hidden as (
    update memories m
    set superseded_by = $5::uuid, superseded_at = now()
    from unnest($3::uuid[], $4::timestamptz[]) as n (id, updated_at)
    where m.agent_id = $1 and m.user_id = $2 and m.id = n.id and m.updated_at = n.updated_at
        and m.superseded_by is null and m.condensable and m.expires_at is null
        and m.memory_type = 'episodic'
    returning 1
)
select count(*) from hidden;

-- name: sources_of
-- $1 agent_id, $2 id of a summary. Oldest first.
select {{columns}}
from memories
where agent_id = $1 and superseded_by = $2 and {{alive}}
order by created_at, id;

-- name: give_back
-- $1 agent_id, $2 id of a summary, $3 whether they may be condensed again: its sources. If it was to
-- expire, so are they.
update memories
set superseded_by = null, superseded_at = null, condensable = $3::boolean
where agent_id = $1 and superseded_by = $2
returning {{columns}};

-- name: drop_summary
-- $1 agent_id, $2 id. Its sources were given back before.
delete from memories where agent_id = $1 and id = $2;

-- name: expire_sources
-- $1 agent_id, $2 id of a summary, $3 when it expires
update memories set expires_at = $3::timestamptz where agent_id = $1 and superseded_by = $2;

-- name: purge_superseded
-- $1 superseded before, $2 of at most so many summaries, of all agents; answers none. All sources of a
-- summary or none: a part of them could not be given back.
with gone as (
    delete from memories
    where superseded_by = any(array(
        select distinct superseded_by from memories where superseded_at < $1 limit $2
    ))
    returning 1
)
select count(*) from gone;

-- name: hide_imported
-- $1 agent_id, $2 ids, $3 of their summaries: those that the same scope has
update memories m
set superseded_by = n.summary_id, superseded_at = now()
from unnest($2::uuid[], $3::uuid[]) as n (id, summary_id)
where m.agent_id = $1 and m.id = n.id and exists (
    select from memories s
    where s.agent_id = $1 and s.id = n.summary_id and s.user_id = m.user_id and s.id <> m.id
);
