-- Named statements; queries.py reads them. $n are asyncpg's parameters, named beside each.
-- No statement here reads or writes a memory without an agent_id.

-- name: insert_memories
-- $1 ids, $2 agent_ids, $3 user_ids, $4 contents, $5 embeddings, $6 generation, $7 importances,
-- $8 memory_types, $9 metadata, $10 created_at (null: now)
insert into memories (
    id, agent_id, user_id, content, embedding, generation,
    importance, memory_type, metadata, created_at, updated_at
)
select
    n.id, n.agent_id, n.user_id, n.content, n.embedding, $6::smallint,
    n.importance, n.memory_type, n.metadata, coalesce(n.created_at, now()), now()
from unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::vector[],
    $7::float8[], $8::text[], $9::jsonb[], $10::timestamptz[]
) as n (
    id, agent_id, user_id, content, embedding, importance, memory_type, metadata, created_at
)
on conflict (id) do nothing
returning id, agent_id, user_id, content, importance, memory_type, metadata, created_at, updated_at;

-- name: select_inserted
-- $1 ids, $2 agent_ids: what an earlier try of the same insert has stored
select m.id, m.agent_id, m.user_id, m.content, m.importance, m.memory_type, m.metadata,
    m.created_at, m.updated_at
from unnest($1::uuid[], $2::text[]) as n (id, agent_id)
join memories m on m.id = n.id and m.agent_id = n.agent_id;

-- name: search
-- $1 agent_id, $2 user_id, $3 embedding, $4 generation, $5 top_k, $6 alpha, $7 half_life_days,
-- $8 importance_weight, $9 memory_type, $10 metadata, $11 created_after, $12 created_before,
-- $13 min_score, $14 exact_up_to (rows), $15 candidates of each kind above that, $16 as_of (null:
-- now, by the database's clock)
-- Small scopes are scored whole. In larger ones the candidates are the nearest and the newest.
-- Ages are counted with date_part, a float8: extract gives numeric, whose exp is slow. The bounds
-- within exp keep it from the errors that Postgres raises where others give 0; below them it is 0
-- to four decimals, too.
with scope_size as materialized (
    select count(*) > $14::int as is_large
    from (
        select 1 from memories where agent_id = $1 and user_id = $2 limit $14::int + 1
    ) as first_rows
),
whole as (
    select id, embedding <=> $3 as distance, created_at, importance
    from memories
    where not (select is_large from scope_size)
        and agent_id = $1 and user_id = $2 and generation = $4
        and ($9::text is null or memory_type = $9)
        and ($10::jsonb is null or metadata @> $10)
        and ($11::timestamptz is null or created_at > $11)
        and ($12::timestamptz is null or created_at < $12)
        and ($16::timestamptz is null or created_at <= $16)
),
nearest as (
    select id, embedding <=> $3 as distance, created_at, importance
    from memories
    where (select is_large from scope_size)
        and agent_id = $1 and user_id = $2 and generation = $4
        and ($9::text is null or memory_type = $9)
        and ($10::jsonb is null or metadata @> $10)
        and ($11::timestamptz is null or created_at > $11)
        and ($12::timestamptz is null or created_at < $12)
        and ($16::timestamptz is null or created_at <= $16)
    order by embedding <=> $3
    limit $15::int
),
newest as (
    select id, embedding <=> $3 as distance, created_at, importance
    from memories
    where (select is_large from scope_size)
        and agent_id = $1 and user_id = $2 and generation = $4
        and ($9::text is null or memory_type = $9)
        and ($10::jsonb is null or metadata @> $10)
        and ($11::timestamptz is null or created_at > $11)
        and ($12::timestamptz is null or created_at < $12)
        and ($16::timestamptz is null or created_at <= $16)
    order by created_at desc, id desc
    limit $15::int
),
candidates as (
    select * from whole
    union all
    (select * from nearest union select * from newest)
),
scored as (
    select id, created_at, round((
        $6::float8 * (1 - distance)
        + (1 - $6::float8) * exp(greatest(
            -700,
            -ln(2::float8)
            * greatest(0, date_part('epoch', coalesce($16::timestamptz, now()) - created_at))
            / (86400 * greatest(1e-9, $7::float8))
        ))
        + $8::float8 * importance / 2
    ) * 10000) / 10000 as score
    from candidates
),
hits as (
    select id, score
    from scored
    where $13::float8 is null or score >= $13
    order by score desc, created_at desc, id desc
    limit $5::int
)
select m.id, m.agent_id, m.user_id, m.content, m.importance, m.memory_type, m.metadata,
    m.created_at, m.updated_at, hits.score
from hits
join memories m on m.id = hits.id and m.agent_id = $1 and m.user_id = $2
order by hits.score desc, m.created_at desc, m.id desc;

-- name: get_memory
-- $1 agent_id, $2 id
select id, agent_id, user_id, content, importance, memory_type, metadata, created_at, updated_at
from memories
where agent_id = $1 and id = $2;

-- name: list_of_user
-- $1 agent_id, $2 user_id, $3 memory_type, $4 limit, $5 after created_at, $6 after id
select id, agent_id, user_id, content, importance, memory_type, metadata, created_at, updated_at
from memories
where agent_id = $1 and user_id = $2
    and ($3::text is null or memory_type = $3)
    and (created_at, id) < (coalesce($5::timestamptz, 'infinity'), coalesce($6::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
order by created_at desc, id desc
limit $4::int;

-- name: list_of_agent
-- $1 agent_id, $2 memory_type, $3 limit, $4 after created_at, $5 after id
select id, agent_id, user_id, content, importance, memory_type, metadata, created_at, updated_at
from memories
where agent_id = $1
    and ($2::text is null or memory_type = $2)
    and (created_at, id) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
order by created_at desc, id desc
limit $3::int;

-- name: update_memory
-- $1 agent_id, $2 id, $3 content, $4 embedding (with content), $5 generation, $6 importance,
-- $7 memory_type, $8 metadata; null leaves a column as it is
update memories
set content = coalesce($3::text, content),
    embedding = coalesce($4::vector, embedding),
    generation = case when $4::vector is null then generation else $5::smallint end,
    importance = coalesce($6::float8, importance),
    memory_type = coalesce($7::text, memory_type),
    metadata = coalesce($8::jsonb, metadata),
    updated_at = now()
where agent_id = $1 and id = $2
returning id, agent_id, user_id, content, importance, memory_type, metadata, created_at, updated_at;

-- name: delete_memory
-- $1 agent_id, $2 id
delete from memories where agent_id = $1 and id = $2 returning id;

-- name: forget_scope
-- $1 agent_id, $2 user_id
with gone as (
    delete from memories where agent_id = $1 and user_id = $2 returning 1
)
select count(*) from gone;

-- name: count_of_user
-- $1 agent_id, $2 user_id
select count(*) from memories where agent_id = $1 and user_id = $2;

-- name: count_of_agent
-- $1 agent_id
select count(*) from memories where agent_id = $1;

-- name: hit_rate_limit
-- $1 agent_id, $2 operation, $3 per_minute
-- A true sliding window: the times of the last minute's hits, under the row's lock. A refused call
-- is not a hit. retry_after_s is when the hit that stands in the way leaves the window.
insert into rate_limits as r (agent_id, operation, hits, allowed)
values ($1, $2, array[clock_timestamp()], true)
on conflict (agent_id, operation) do update set (hits, allowed) = (
    select
        case when cardinality(live.hits) < $3::int then live.hits || clock.at else live.hits end,
        cardinality(live.hits) < $3::int
    from (select clock_timestamp() as at offset 0) as clock,
        lateral (
            select coalesce(array_agg(hit order by hit), '{}') as hits
            from unnest(r.hits) as hit
            where hit > clock.at - interval '1 minute'
        ) as live
)
returning allowed, date_part(
    'epoch',
    r.hits[cardinality(r.hits) - $3::int + 1] + interval '1 minute' - clock_timestamp()
) as retry_after_s;

-- name: purge_rate_limits
-- Rows in use are skipped, not waited for: hits lock several agents' rows in an order of their own.
delete from rate_limits
where ctid = any(array(
    select ctid from rate_limits
    where hits[cardinality(hits)] < clock_timestamp() - interval '1 minute'
    for update skip locked
));

-- name: lock_generations
lock table embedding_generations in exclusive mode;

-- name: active_generation
select generation, model, revision, precision, dimensions
from embedding_generations
order by generation desc
limit 1;

-- name: generation_in_use
-- $1 generation: whether any memory was embedded by it; reads no row of anyone's
select exists (select from memories where generation = $1);

-- name: drop_generation
-- $1 generation, which no memory uses
delete from embedding_generations where generation = $1;

-- name: add_generation
-- $1 model, $2 revision, $3 precision, $4 dimensions
insert into embedding_generations (model, revision, precision, dimensions)
values ($1, $2, $3, $4)
returning generation;

-- name: embedding_dimensions
-- of the column; pgvector keeps them as the type's modifier
select atttypmod from pg_attribute
where attrelid = 'memories'::regclass and attname = 'embedding';

-- name: set_embedding_dimensions
select set_embedding_dimensions($1::integer);

-- name: lock_migrations
-- The key is 'memex' in ASCII. Held to the end of the transaction.
select pg_advisory_xact_lock(469853103480);

-- name: create_migrations_table
create table if not exists schema_migrations (
    version integer primary key,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default now()
);

-- name: applied_migrations
select version, name, checksum from schema_migrations order by version;

-- name: record_migration
-- $1 version, $2 name, $3 checksum
insert into schema_migrations (version, name, checksum) values ($1, $2, $3);

-- name: vector_version
select extversion from pg_extension where extname = 'vector';

-- name: vector_schema
select n.nspname from pg_extension e
join pg_namespace n on n.oid = e.extnamespace
where e.extname = 'vector';
