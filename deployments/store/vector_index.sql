-- What the index of vectors has: the memories of listed scopes.

-- name: listed_scope
-- $1 agent_id, $2 user_id: whether the index has all of its memories (null: it is not listed), whether
-- these have sketches, and about how many memories of all scopes the index has.
select s.is_filled, s.has_sketches,
    (
        select greatest(0, reltuples)::bigint from pg_class where oid = 'memories_embedding'::regclass
    ) as entries
from (select) as always
left join indexed_scopes s on s.agent_id = $1 and s.user_id = $2;

-- name: list_scope
-- $1 agent_id, $2 user_id
insert into indexed_scopes (agent_id, user_id) values ($1, $2) on conflict do nothing;

-- name: list_large_scopes
-- $1 agent_ids, $2 user_ids, $3 rows: those that have more.
insert into indexed_scopes (agent_id, user_id)
select s.agent_id, s.user_id
from unnest($1::text[], $2::text[]) as s (agent_id, user_id)
where not exists (select from indexed_scopes i where i.agent_id = s.agent_id and i.user_id = s.user_id)
    and $3::int < (
        select count(*)
        from (
            select from memories m
            where m.agent_id = s.agent_id and m.user_id = s.user_id and m.superseded_by is null
            limit $3::int + 1
        ) as first_rows
    )
on conflict do nothing;

-- name: scopes_to_fill
-- Of all agents, for `fill_index`, one after another.
select agent_id, user_id, listed_at from indexed_scopes where not is_filled order by listed_at;

-- name: now
-- Not of the transaction, which may have begun long ago.
select clock_timestamp();

-- name: earliest_writer
-- $1 time: the oldest of the transactions that are running and had begun by then, which may have
-- written memories without knowing that their scope was listed.
select pid, xact_start
from pg_stat_activity
where datname = current_database() and backend_type = 'client backend'
    and pid <> pg_backend_pid() and xact_start <= $1
order by xact_start
limit 1;

-- name: fill_index
-- $1 agent_id, $2 user_id, $3 after created_at, $4 after id, $5 rows. The next so many memories of the
-- scope go into the index, but for those in use: what is left of them, and where this went to (null:
-- behind the last). In two parts, since what was condensed has an index of its own.
with page as (
    (
        select id, created_at, indexed
        from memories
        where agent_id = $1 and user_id = $2 and superseded_by is null
            and (created_at, id) < (coalesce($3::timestamptz, 'infinity'), coalesce($4::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
        order by created_at desc, id desc
        limit $5::int
    )
    union all
    (
        select id, created_at, indexed
        from memories
        where agent_id = $1 and user_id = $2 and superseded_by is not null
            and (created_at, id) < (coalesce($3::timestamptz, 'infinity'), coalesce($4::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
        order by created_at desc, id desc
        limit $5::int
    )
    order by created_at desc, id desc
    limit $5::int
), free as (
    select m.id
    from page
    join memories m on m.agent_id = $1 and m.id = page.id
    where not page.indexed
    for no key update of m skip locked
), added as (
    update memories m set indexed = true
    from free
    where m.agent_id = $1 and m.id = free.id
    returning m.id
)
select (select count(*) from page where not indexed) - (select count(*) from added) as rows_left,
    last.created_at, last.id
from (select) as always
left join (
    select created_at, id from page order by created_at, id limit 1
) as last on (select count(*) from page) = $5::int;

-- name: scope_is_filled
-- $1 agent_id, $2 user_id, $3 listed_at
update indexed_scopes set is_filled = true
where agent_id = $1 and user_id = $2 and listed_at = $3::timestamptz;
