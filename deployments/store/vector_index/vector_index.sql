-- The scopes in the vector index (HNSW): those that are too large to be scored whole.

-- name: listed_scope
-- Whether the index has all memories of the scope (null if the scope is not listed), whether all of them
-- have sketches, and about how many memories of all scopes the index has.
select s.is_filled, s.has_sketches,
    (
        select greatest(0, reltuples)::bigint from pg_class where oid = 'memories_embedding'::regclass
    ) as entries
from (select) as one_row
left join indexed_scopes s on s.agent_id = :agent_id and s.user_id = :user_id;

-- name: list_scope
insert into indexed_scopes (agent_id, user_id) values (:agent_id, :user_id) on conflict do nothing;

-- name: list_large_scopes
-- Lists the scopes that have more than exact_rows memories.
insert into indexed_scopes (agent_id, user_id)
select s.agent_id, s.user_id
from unnest(:agent_ids::text[], :user_ids::text[]) as s (agent_id, user_id)
where not exists (select from indexed_scopes i where i.agent_id = s.agent_id and i.user_id = s.user_id)
    and :exact_rows::int < (
        select count(*)
        from (
            select from memories m
            where m.agent_id = s.agent_id and m.user_id = s.user_id and m.superseded_by is null
            limit :exact_rows::int + 1
        ) as first_rows
    )
on conflict do nothing;

-- name: scopes_to_fill
-- The scopes of all agents that are not filled, for fill_index, which works on one scope at a time.
select agent_id, user_id, listed_at from indexed_scopes where not is_filled order by listed_at;

-- name: now
-- The clock's time: now() would be the start of the transaction.
select clock_timestamp();

-- name: earliest_writer
-- The oldest running transaction that began by :began_at. It may have written memories before it could see
-- that their scope is listed.
select pid, xact_start
from pg_stat_activity
where datname = current_database() and backend_type = 'client backend'
    and pid <> pg_backend_pid() and xact_start <= :began_at
order by xact_start
limit 1;

-- name: fill_index
-- Puts the next max_rows memories of the scope into the index, except locked rows. Returns how many it left
-- out, and the last memory of the page (null after the scope's last). In two parts, because superseded
-- memories have their own index.
with page as (
    (
        select id, created_at, indexed
        from memories
        where agent_id = :agent_id and user_id = :user_id and superseded_by is null
            and (created_at, id) < (
                coalesce(:after_created_at::timestamptz, 'infinity'),
                coalesce(:after_id::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
            )
        order by created_at desc, id desc
        limit :max_rows::int
    )
    union all
    (
        select id, created_at, indexed
        from memories
        where agent_id = :agent_id and user_id = :user_id and superseded_by is not null
            and (created_at, id) < (
                coalesce(:after_created_at::timestamptz, 'infinity'),
                coalesce(:after_id::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
            )
        order by created_at desc, id desc
        limit :max_rows::int
    )
    order by created_at desc, id desc
    limit :max_rows::int
), unlocked as (
    select m.id
    from page
    join memories m on m.agent_id = :agent_id and m.id = page.id
    where not page.indexed
    for no key update of m skip locked
), added as (
    update memories m set indexed = true
    from unlocked
    where m.agent_id = :agent_id and m.id = unlocked.id
    returning m.id
)
select (select count(*) from page where not indexed) - (select count(*) from added) as rows_left_out,
    last.created_at, last.id
from (select) as one_row
left join (
    select created_at, id from page order by created_at, id limit 1
) as last on (select count(*) from page) = :max_rows::int;

-- name: scope_is_filled
update indexed_scopes set is_filled = true
where agent_id = :agent_id and user_id = :user_id and listed_at = :listed_at::timestamptz;
