-- Sketches: for each memory in the vector index, and for each key and value of its metadata, the data to
-- estimate its score from without reading the memory. The triggers of migration 14 keep them up to date.

-- name: scopes_to_sketch
-- The scopes of all agents that lack sketches, for add_sketches, which works on one scope at a time.
select agent_id, user_id from indexed_scopes where is_filled and not has_sketches order by listed_at;

-- name: add_sketches
-- Sketches those of the scope's next max_rows memories that are in the vector index, except locked rows.
-- Returns how many it left out, and the last memory of the page (null after the scope's last). A lock
-- allows one call at a time for a scope, because two would skip each other's locked rows.
with scope_lock as materialized (
    select pg_advisory_xact_lock(
        hashtext('sketches'), hashtext(concat_ws(chr(31), :agent_id::text, :user_id::text))
    )
), page as (
    select id, created_at, indexed
    from scope_lock, memories
    where agent_id = :agent_id and user_id = :user_id and superseded_by is null
        and (created_at, id) < (
            coalesce(:after_created_at::timestamptz, 'infinity'),
            coalesce(:after_id::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
        )
    order by created_at desc, id desc
    limit :max_rows::int
), unlocked as (
    select m.id, m.agent_id, m.user_id, m.metadata, m.created_at, m.importance, m.memory_type,
        m.expires_at, binary_quantize(m.embedding) as signs
    from page
    join memories m on m.agent_id = :agent_id and m.id = page.id
    where m.indexed and m.superseded_by is null
    for no key update of m skip locked
), added as (
    insert into memory_sketches
    select key, created_at, id, importance, memory_type, expires_at, signs
    from unlocked, sketch_keys(agent_id, user_id, metadata) as key
    on conflict do nothing
)
select (select count(*) from page where indexed) - (select count(*) from unlocked) as rows_left_out,
    last.created_at, last.id
from (select) as one_row
left join (
    select created_at, id from page order by created_at, id limit 1
) as last on (select count(*) from page) = :max_rows::int;

-- name: scope_has_sketches
-- Changes nothing if the generation is no longer in use. The check sees what is committed when the
-- statement gets its lock on memories, which a switch holds until it commits.
update indexed_scopes set has_sketches = true
where agent_id = :agent_id and user_id = :user_id and :generation::smallint = {{generation_in_use}}
    and exists (select from memories where agent_id = :agent_id and user_id = :user_id);
