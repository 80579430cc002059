-- Named statements; queries.py reads them. $n are asyncpg's parameters, named beside each.
-- No statement here that answers a caller reads or writes a memory without an agent_id. Those that
-- keep what is derived from memories (renew_terms and its like), and purge_expired, run for all agents
-- and answer none; agents tells which there are, and nothing of theirs.
-- Whoever brings an embedding names its generation, and a statement looks whether that one is still in
-- use: both embeddings and generations are seen as of after the statement has its lock on memories.

-- fragment: generation_in_use
(select generation from embedding_generations where state = 'active')

-- fragment: columns
-- What a row of memories is read of.
id, agent_id, user_id, content, importance, memory_type, metadata, created_at, updated_at,
    expires_at, superseded_by

-- name: insert_memories
-- $1 ids, $2 agent_ids, $3 user_ids, $4 contents, $5 embeddings, $6 generations, $7 importances,
-- $8 memory_types, $9 metadata, $10 created_at (null: now), $11 lexicon, $12 terms, $13 term_keys (as
-- text: an array of arrays must be rectangular), $14 expires_at, $15 updated_at (null: now)
insert into memories (
    id, agent_id, user_id, content, embedding, lexicon, terms, term_keys,
    importance, memory_type, metadata, created_at, updated_at, expires_at, indexed
)
select
    n.id, n.agent_id, n.user_id, n.content, n.embedding,
    $11::smallint, n.terms, n.term_keys::bigint[],
    n.importance, n.memory_type, n.metadata, coalesce(n.created_at, now()),
    coalesce(n.updated_at, now()), n.expires_at,
    exists (select from indexed_scopes s where s.agent_id = n.agent_id and s.user_id = n.user_id)
from unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::vector[], $6::smallint[],
    $7::float8[], $8::text[], $9::jsonb[], $10::timestamptz[], $12::sparsevec[], $13::text[],
    $14::timestamptz[], $15::timestamptz[]
) as n (
    id, agent_id, user_id, content, embedding, generation, importance, memory_type, metadata,
    created_at, terms, term_keys, expires_at, updated_at
)
where n.generation = {{generation_in_use}}
on conflict (id) do nothing
returning {{columns}};

-- name: try_idempotency_key
-- $1 agent_id, $2 key. Held to the end of the transaction; false where another call has it.
select pg_try_advisory_xact_lock(hashtext($1::text), hashtext($2::text));

-- name: idempotency_key
-- $1 agent_id, $2 key
select fingerprint, ids, created_at, expires_at, stored_at
from idempotency_keys
where agent_id = $1 and key = $2 and stored_at > now() - interval '24 hours';

-- name: add_idempotency_key
-- $1 agent_id, $2 key, $3 fingerprint, $4 ids, $5 created_at, $6 expires_at, $7 stored_at. One of the
-- same name that is left is too old to count.
insert into idempotency_keys (
    agent_id, key, fingerprint, ids, created_at, expires_at, stored_at
)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (agent_id, key) do update set
    fingerprint = excluded.fingerprint, ids = excluded.ids, created_at = excluded.created_at,
    expires_at = excluded.expires_at, stored_at = excluded.stored_at;

-- name: purge_idempotency_keys
delete from idempotency_keys
where ctid = any(array(
    select ctid from idempotency_keys
    where stored_at <= now() - interval '24 hours'
    for update skip locked
));

-- name: lock_contents
-- $1 agent_ids, $2 user_ids, $3 contents: held to the end of the transaction, so that of two that write
-- the same the second finds what the first wrote. In one order, so that no two wait for each other.
select pg_advisory_xact_lock(hash)
from (
    select distinct hashtextextended(concat_ws(chr(31), agent_id, user_id, content), 0) as hash
    from unnest($1::text[], $2::text[], $3::text[]) as n (agent_id, user_id, content)
    order by hash
) as hashes;

-- name: touch_identical
-- $1 ids of what is to be written, $2 agent_ids, $3 user_ids, $4 contents, $5 importances, $6
-- memory_types, $7 metadata, $8 created_at (null: now), $9 expires_at, $10 term_keys (as text), by which
-- the index finds them. It is as new as the newer of both, and lives as long as the longer.
with identical as (
    select n.id as asked, n.agent_id, n.created_at, n.expires_at, same.id
    from unnest(
        $1::uuid[], $2::text[], $3::text[], $4::text[], $5::float8[], $6::text[], $7::jsonb[],
        $8::timestamptz[], $9::timestamptz[], $10::text[]
    ) as n (
        id, agent_id, user_id, content, importance, memory_type, metadata, created_at, expires_at,
        term_keys
    ), lateral (
        select id
        from memories
        where agent_id = n.agent_id and user_id = n.user_id and {{shown}}
            and term_keys @> n.term_keys::bigint[] and content = n.content
            and importance = n.importance and memory_type = n.memory_type
            and metadata = n.metadata
        order by created_at desc, id desc
        limit 1
    ) as same
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
returning n.asked, m.id, m.agent_id, m.user_id, m.content, m.importance, m.memory_type,
    m.metadata, m.created_at, m.updated_at, m.expires_at, m.superseded_by;

-- name: select_inserted
-- $1 ids, $2 agent_ids: what an earlier try of the same insert has stored
select m.id, m.agent_id, m.user_id, m.content, m.importance, m.memory_type, m.metadata,
    m.created_at, m.updated_at, m.expires_at, m.superseded_by
from unnest($1::uuid[], $2::text[]) as n (id, agent_id)
join memories m on m.id = n.id and m.agent_id = n.agent_id;

-- fragment: alive
(expires_at is null or expires_at > now())

-- fragment: shown
-- To whoever does not ask for what was condensed.
superseded_by is null and {{alive}}

-- name: get_memory
-- $1 agent_id, $2 id
select {{columns}}
from memories
where agent_id = $1 and id = $2 and {{alive}};

-- fragment: page_of_user
agent_id = $1 and user_id = $2 and {{alive}}
        and ($3::text is null or memory_type = $3)
        and ($7::jsonb is null or metadata @> $7)
        and created_at > coalesce($8::timestamptz, '-infinity')
        and created_at < coalesce($9::timestamptz, 'infinity')
        and (created_at, id) < (coalesce($5::timestamptz, 'infinity'), coalesce($6::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))

-- name: list_of_user
-- $1 agent_id, $2 user_id, $3 memory_type, $4 limit, $5 after created_at, $6 after id, $7 metadata,
-- $8 created_after, $9 created_before, $10 whether with what was condensed, which has an index of its
-- own
(
    select {{columns}}
    from memories
    where {{page_of_user}} and superseded_by is null
    order by created_at desc, id desc
    limit $4::int
)
union all
(
    select {{columns}}
    from memories
    where $10::boolean and {{page_of_user}} and superseded_by is not null
    order by created_at desc, id desc
    limit $4::int
)
order by created_at desc, id desc
limit $4::int;

-- name: list_of_agent
-- $1 agent_id, $2 memory_type, $3 limit, $4 after created_at, $5 after id, $6 metadata,
-- $7 created_after, $8 created_before, $9 whether with what was condensed
select {{columns}}
from memories
where agent_id = $1 and {{alive}} and ($9::boolean or superseded_by is null)
    and ($2::text is null or memory_type = $2)
    and ($6::jsonb is null or metadata @> $6)
    and created_at > coalesce($7::timestamptz, '-infinity')
    and created_at < coalesce($8::timestamptz, 'infinity')
    and (created_at, id) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
order by created_at desc, id desc
limit $3::int;

-- name: bound_idle_transaction
-- $1 milliseconds, in a transaction: when nobody has asked it anything for so long, Postgres ends it.
select set_config('idle_in_transaction_session_timeout', $1, true);

-- name: known_ids
-- $1 agent_id, $2 ids
select id from memories where agent_id = $1 and id = any($2::uuid[]);

-- name: user_of
-- $1 agent_id, $2 id
select user_id from memories where agent_id = $1 and id = $2 and {{shown}};

-- name: owner_of
-- $1 agent_id, $2 id: of what was condensed, too
select user_id from memories where agent_id = $1 and id = $2 and {{alive}};

-- name: update_memory
-- $1 agent_id, $2 id, $3 content, $4 embedding (with content), $5 generation, $6 importance,
-- $7 memory_type, $8 metadata, $9 lexicon (with content), $10 terms, $11 term_keys; null leaves a
-- column as it is. $12 whether to set expires_at, $13 to what
update memories
set content = coalesce($3::text, content),
    embedding = coalesce($4::vector, embedding),
    lexicon = case when $4::vector is null then lexicon else $9::smallint end,
    terms = coalesce($10::sparsevec, terms),
    term_keys = coalesce($11::bigint[], term_keys),
    importance = coalesce($6::float8, importance),
    memory_type = coalesce($7::text, memory_type),
    metadata = coalesce($8::jsonb, metadata),
    expires_at = case when $12::boolean then $13::timestamptz else expires_at end,
    updated_at = now()
where agent_id = $1 and id = $2 and {{shown}}
    and ($4::vector is null or $5::smallint = {{generation_in_use}})
returning {{columns}};

-- name: memory_versions
-- $1 agent_id, $2 id, $3 before version (null: all), $4 limit. Newest first, behind a row without a
-- version, which tells that the memory is there.
(
    select null::int as version, null as content, null::float8 as importance, null as memory_type,
        null::jsonb as metadata, null::timestamptz as expires_at, null::timestamptz as written_at,
        null::timestamptz as replaced_at
    from memories
    where agent_id = $1 and id = $2 and {{alive}}
)
union all
(
    select v.version, v.content, v.importance, v.memory_type, v.metadata, v.expires_at,
        v.written_at, v.replaced_at
    from memories m
    join memory_versions v on v.memory_id = m.id and v.agent_id = m.agent_id
    where m.agent_id = $1 and m.id = $2 and (m.expires_at is null or m.expires_at > now())
        and v.version < coalesce($3::int, 2147483647)
    order by v.version desc
    limit $4::int
);

-- name: delete_memory
-- $1 agent_id, $2 id: the memory, and its sources where it is a summary. What it was condensed into, if
-- it was.
delete from memories where agent_id = $1 and id = $2 and {{alive}} returning id, superseded_by;

-- name: forget_scope
-- $1 agent_id, $2 user_id
with gone as (
    delete from memories where agent_id = $1 and user_id = $2 and superseded_by is null
    returning expires_at
), hidden as (
    delete from memories where agent_id = $1 and user_id = $2 and superseded_by is not null
), unlisted as (
    delete from indexed_scopes where agent_id = $1 and user_id = $2
)
select count(*) from gone where {{alive}};

-- name: count_of_user
-- $1 agent_id, $2 user_id, $3 whether with what was condensed. Indexes alone count them; few are
-- expired and still there.
select (
    select count(*) from memories where agent_id = $1 and user_id = $2 and superseded_by is null
) + (
    select count(*) from memories
    where $3::boolean and agent_id = $1 and user_id = $2 and superseded_by is not null
) - (
    select count(*) from memories
    where agent_id = $1 and user_id = $2 and expires_at <= now()
        and ($3::boolean or superseded_by is null)
);

-- name: count_of_agent
-- $1 agent_id, $2 whether with what was condensed
select (select count(*) from memories where agent_id = $1) - (
    select count(*) from memories
    where not $2::boolean and agent_id = $1 and superseded_by is not null
) - (
    select count(*) from memories
    where agent_id = $1 and expires_at <= now() and ($2::boolean or superseded_by is null)
);

-- name: agents
-- $1 after agent_id, $2 limit. Of all agents, and gives nothing but their ids. Each step goes to the
-- next one in the index of scopes, however many memories lie between.
with recursive steps as (
    select 1 as step, (
        select agent_id from memories
        where agent_id > coalesce($1::text, '')
        order by agent_id
        limit 1
    ) as agent_id
    union all
    select step + 1, (
        select m.agent_id from memories m
        where m.agent_id > steps.agent_id
        order by m.agent_id
        limit 1
    )
    from steps
    where agent_id is not null and step < $2::int
)
select agent_id from steps where agent_id is not null order by step;

-- name: users
-- $1 agent_id, $2 after user_id, $3 limit. As the one above.
with recursive steps as (
    select 1 as step, (
        select user_id from memories
        where agent_id = $1 and superseded_by is null and user_id > coalesce($2::text, '')
        order by user_id
        limit 1
    ) as user_id
    union all
    select step + 1, (
        select m.user_id from memories m
        where m.agent_id = $1 and m.superseded_by is null and m.user_id > steps.user_id
        order by m.user_id
        limit 1
    )
    from steps
    where user_id is not null and step < $3::int
)
select user_id from steps where user_id is not null order by step;

-- name: tally_agents
-- $1 agent_ids, $2 at most so many of each. The index of scopes alone counts them, to one more than
-- that and those that are expired and still there, which are few.
select n.agent_id, (
    select count(*)
    from (
        select from memories
        where agent_id = n.agent_id and superseded_by is null
        limit $2::int + n.expired + 1
    ) as first_rows
) - n.expired as memories
from (
    select agent_id, place, (
        select count(*) from memories
        where agent_id = s.agent_id and superseded_by is null and expires_at <= now()
    ) as expired
    from unnest($1::text[]) with ordinality as s (agent_id, place)
    offset 0
) as n
order by n.place;

-- name: tally_users
-- $1 agent_id, $2 user_ids, $3 at most so many of each. As the one above.
select n.user_id, (
    select count(*)
    from (
        select from memories
        where agent_id = $1 and user_id = n.user_id and superseded_by is null
        limit $3::int + n.expired + 1
    ) as first_rows
) - n.expired as memories
from (
    select user_id, place, (
        select count(*) from memories
        where agent_id = $1 and user_id = u.user_id and superseded_by is null
            and expires_at <= now()
    ) as expired
    from unnest($2::text[]) with ordinality as u (user_id, place)
    offset 0
) as n
order by n.place;

-- name: timeline_of_user
-- $1 agent_id, $2 user_id, $3 since, $4 at most so many, of which the newest
select (created_at at time zone 'UTC')::date as day, memory_type, count(*) as memories
from (
    select created_at, memory_type from memories
    where agent_id = $1 and user_id = $2 and {{shown}} and created_at >= $3
    order by created_at desc, id desc
    limit $4::int
) as newest
group by day, memory_type
order by day;

-- name: timeline_of_agent
-- $1 agent_id, $2 since, $3 at most so many, of which the newest
select (created_at at time zone 'UTC')::date as day, memory_type, count(*) as memories
from (
    select created_at, memory_type from memories
    where agent_id = $1 and {{shown}} and created_at >= $2
    order by created_at desc, id desc
    limit $3::int
) as newest
group by day, memory_type
order by day;

-- name: purge_expired
-- $1 at most so many; of all agents, and answers none. How many there were.
with gone as (
    delete from memories
    where ctid = any(array(
        select ctid from memories where expires_at <= now() limit $1 for update skip locked
    ))
    returning 1
)
select count(*) from gone;

-- name: hit_rate_limits
-- $1 agent_ids (each once, sorted), $2 how many calls of each, $3 operation, $4 per_minute
-- A true sliding window: the times of the last minute's hits, under the row's lock. As many calls as
-- fit are granted; a refused call is not a hit. retry_after_s is when the hit that stands in the way
-- of the next one leaves the window; null where none does.
insert into rate_limits as r (agent_id, operation, hits, granted)
select n.agent_id, $3::text, array_fill(clock_timestamp(), array[n.calls]), n.calls
from (
    select agent_id, least(calls, $4::int) as calls
    from unnest($1::text[], $2::int[]) as u (agent_id, calls)
) as n
on conflict (agent_id, operation) do update set (hits, granted) = (
    select live.hits || array_fill(clock.at, array[fitting.calls]), fitting.calls
    from (select clock_timestamp() as at offset 0) as clock,
        lateral (
            select coalesce(array_agg(hit order by hit), '{}') as hits
            from unnest(r.hits) as hit
            where hit > clock.at - interval '1 minute'
        ) as live,
        lateral (
            select greatest(0, least(excluded.granted, $4::int - cardinality(live.hits))) as calls
        ) as fitting
)
returning agent_id, granted, date_part(
    'epoch',
    r.hits[cardinality(r.hits) - $4::int + 1] + interval '1 minute' - clock_timestamp()
) as retry_after_s;

-- name: purge_rate_limits
-- Rows in use are skipped, not waited for: hits lock several agents' rows in an order of their own.
delete from rate_limits
where ctid = any(array(
    select ctid from rate_limits
    where hits[cardinality(hits)] < clock_timestamp() - interval '1 minute'
    for update skip locked
));

-- name: active_lexicon
select lexicon, analyzer_version, language, k1, b, average_terms
from lexicons
order by lexicon desc
limit 1;

-- name: lock_lexicons
lock table lexicons in exclusive mode;

-- name: add_lexicon
-- $1 analyzer_version, $2 language, $3 k1, $4 b, $5 average_terms. One that was in use before gets a
-- new number, too: the newest is in use.
insert into lexicons (analyzer_version, language, k1, b, average_terms) values ($1, $2, $3, $4, $5)
returning lexicon;

-- name: count_outdated
-- $1 lexicon; of all agents, reads no row of anyone's
select count(*) from memories where lexicon is null or lexicon < $1;

-- name: outdated_memories
-- $1 lexicon, $2 limit. Of all agents, for renew_terms, which writes what is derived from each
-- memory back to it alone. Rows in use are left for the next time.
select id, agent_id, user_id, content
from memories
where lexicon is null or lexicon < $1
limit $2
for update skip locked;

-- name: renew_terms
-- $1 ids, $2 agent_ids, $3 lexicon, $4 terms, $5 term_keys (as text)
update memories m
set lexicon = $3::smallint, terms = n.terms, term_keys = n.term_keys::bigint[]
from unnest($1::uuid[], $2::text[], $4::sparsevec[], $5::text[]) as n (id, agent_id, terms, term_keys)
where m.agent_id = n.agent_id and m.id = n.id;

-- name: wait_for_folding
-- The lock of try_folding.
select pg_advisory_xact_lock(465692322147);

-- name: try_folding
-- The key is 'lexic' in ASCII. Held to the end of the transaction; false where another has it.
select pg_try_advisory_xact_lock(465692322147);

-- name: fold_frequencies
-- $1 at most so many changes
with taken as (
    delete from document_frequency_changes
    where ctid = any(array(select ctid from document_frequency_changes limit $1))
    returning term_key, memories
),
sums as (
    select term_key, sum(memories)::bigint as memories from taken group by term_key
)
merge into document_frequencies as f
using sums on f.term_key = sums.term_key
when matched and f.memories + sums.memories = 0 then delete
when matched then update set memories = f.memories + sums.memories
when not matched and sums.memories <> 0 then insert values (sums.term_key, sums.memories);

-- name: has_more_changes
-- $1: whether there are more than so many
select exists (select from document_frequency_changes offset $1);

-- name: lock_frequencies
-- Writers wait; readers do not.
lock table memories, document_frequencies, document_frequency_changes in share row exclusive mode;

-- name: clear_frequency_changes
delete from document_frequency_changes;

-- name: clear_frequencies
delete from document_frequencies;

-- name: count_frequencies
-- Reads nothing but keys; of all agents.
insert into document_frequencies
select term_key, count(*) from memories, unnest(term_keys) as term_key
where superseded_by is null
group by term_key;

-- name: lock_generations
lock table embedding_generations in exclusive mode;

-- name: active_generation
-- As JSON, since a backup may be of a database in which generations had no state yet.
select generation, model, revision, precision, dimensions,
    to_jsonb(g) ->> 'reembedded_at' is not null as is_reembedded
from embedding_generations g
where coalesce(to_jsonb(g) ->> 'state', 'active') = 'active';

-- name: building_generation
select generation, model, revision, precision, dimensions
from embedding_generations g
where to_jsonb(g) ->> 'state' = 'building';

-- name: has_memories
-- Reads no row of anyone's.
select exists (select from memories);

-- name: drop_generation
-- $1 generation, where there are no memories
delete from embedding_generations where generation = $1;

-- name: add_generation
-- $1 model, $2 revision, $3 precision, $4 dimensions
insert into embedding_generations (model, revision, precision, dimensions)
values ($1, $2, $3, $4)
returning generation;

-- name: add_next_generation
-- $1 model, $2 revision, $3 precision, $4 dimensions
insert into embedding_generations (model, revision, precision, dimensions, state)
values ($1, $2, $3, $4, 'building');

-- name: try_reembedding
-- The key is 'reembe' in ASCII. Held by the session; false where another has it.
select pg_try_advisory_lock(125779818930789);

-- name: end_reembedding
select pg_advisory_unlock(125779818930789);

-- name: begin_reembedding
select begin_reembedding($1::integer);

-- name: abandon_reembedding
select abandon_reembedding();

-- name: switch_embeddings
select switch_embeddings();

-- name: count_missing_next
-- All memories, and those without a next embedding; reads no row of anyone's
select count(*) as memories, count(*) filter (where embedding_next is null) as missing from memories;

-- name: memories_to_reembed
-- $1 after id, $2 limit. Of all agents, for set_next_embeddings, which writes what is derived from each
-- memory back to it alone.
select id, agent_id, content
from memories
where id > $1 and embedding_next is null
order by id
limit $2;

-- name: set_next_embeddings
-- $1 ids, $2 agent_ids, $3 contents, $4 embeddings. Not of those whose content is another by now; rows
-- in use are left for the next time, so that nobody's statement waits for this one in a circle.
with free as (
    select m.id, m.agent_id, n.embedding
    from unnest($1::uuid[], $2::text[], $3::text[], $4::vector[]) as n (id, agent_id, content, embedding)
    join memories m on m.agent_id = n.agent_id and m.id = n.id and m.content = n.content
    for no key update of m skip locked
)
update memories m
set embedding_next = n.embedding
from free n
where m.agent_id = n.agent_id and m.id = n.id;

-- name: next_indexes
select relname as name, indisvalid as is_valid
from pg_index
join pg_class on pg_class.oid = indexrelid
where indrelid = 'memories'::regclass
    and relname in ('memories_embedding_next', 'memories_embedding_next_missing');

-- name: drop_next_index
drop index concurrently memories_embedding_next;

-- name: drop_missing_index
drop index concurrently memories_embedding_next_missing;

-- name: create_next_index
-- As create_embedding_index does for the column in use. :dimensions is the next embedding's.
create index concurrently memories_embedding_next on memories using hnsw
    ((embedding_next::halfvec(:dimensions)) halfvec_cosine_ops) with (ef_construction = 256)
where indexed;

-- name: create_missing_index
create index concurrently memories_embedding_next_missing on memories (id)
where embedding_next is null;

-- name: index_progress
select coalesce(max(tuples_done), 0) from pg_stat_progress_create_index
where relid = 'memories'::regclass;

-- name: wait_for_locks
-- $1 how long, such as 250ms
select set_config('lock_timeout', $1, true);

-- name: keep_vacuum_away
-- It is asked to end, unless it must not, and nobody else waits. A switch that is given up after less
-- than a second would not have it ended.
lock table memories, memory_sketches in share update exclusive mode;

-- name: keep_writers_away
lock table memories in exclusive mode;

-- name: keep_all_away
lock table memories in access exclusive mode;

-- name: is_unchecked
-- Whether a switch has still to be followed by the next three.
select exists (
    select from pg_constraint
    where conrelid = 'memories'::regclass and conname = 'memories_embedding_there'
);

-- name: check_embeddings
alter table memories validate constraint memories_embedding_there;

-- name: forbid_null_embeddings
alter table memories alter column embedding set not null;

-- name: drop_check_of_embeddings
alter table memories drop constraint memories_embedding_there;

-- name: analyze_memories
analyze memories;

-- name: count_other_sessions
-- of the same user, in this database
select count(*) from pg_stat_activity
where datname = current_database() and usename = session_user and pid <> pg_backend_pid();

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
