-- What tells about a memory of a large scope without its row: see migration 14, whose triggers keep it.

-- name: scopes_to_sketch
-- Of all agents, for `add_sketches`, one after another.
select agent_id, user_id from indexed_scopes where is_filled and not has_sketches order by listed_at;

-- name: add_sketches
-- $1 agent_id, $2 user_id, $3 after created_at, $4 after id, $5 rows. Of the next so many memories of the
-- scope that the index of vectors has, but for those in use: what is left of them, and where this went
-- to (null: behind the last). One at a time in a scope, lest two take each other's for in use.
with turn as materialized (
    select pg_advisory_xact_lock(hashtext('sketches'), hashtext(concat_ws(chr(31), $1::text, $2::text)))
), page as (
    select id, created_at, indexed
    from turn, memories
    where agent_id = $1 and user_id = $2 and superseded_by is null
        and (created_at, id) < (coalesce($3::timestamptz, 'infinity'), coalesce($4::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
    order by created_at desc, id desc
    limit $5::int
), free as (
    select m.id, m.agent_id, m.user_id, m.metadata, m.created_at, m.importance, m.memory_type,
        m.expires_at, binary_quantize(m.embedding) as signs
    from page
    join memories m on m.agent_id = $1 and m.id = page.id
    where m.indexed and m.superseded_by is null
    for no key update of m skip locked
), added as (
    insert into memory_sketches
    select key, created_at, id, importance, memory_type, expires_at, signs
    from free, sketch_keys(agent_id, user_id, metadata) as key
    on conflict do nothing
)
select (select count(*) from page where indexed) - (select count(*) from free) as rows_left, last.created_at, last.id
from (select) as always
left join (
    select created_at, id from page order by created_at, id limit 1
) as last on (select count(*) from page) = $5::int;

-- name: scope_has_sketches
-- $1 agent_id, $2 user_id, $3 generation: nothing where another has come into use since. That is seen as
-- of after the statement has its lock on memories, which a switch does not give it before it is done.
update indexed_scopes set has_sketches = true
where agent_id = $1 and user_id = $2 and $3::smallint = {{generation_in_use}}
    and exists (select from memories where agent_id = $1 and user_id = $2);
