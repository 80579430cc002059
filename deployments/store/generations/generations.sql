-- Embedding generations (the model identity of the stored embeddings), and re-embedding with another model.
-- A caller passes the generation of its embedding, and each statement checks that it is still in use. The
-- statement reads both after it has its lock on memories.

-- fragment: generation_in_use
(select generation from embedding_generations where state = 'active')

-- name: lock_generations
lock table embedding_generations in exclusive mode;

-- name: active_generation
-- Reads the row as JSON, because a backup may be of a database in which generations had no state yet.
select generation, model, revision, precision, dimensions,
    to_jsonb(g) ->> 'reembedded_at' is not null as is_reembedded
from embedding_generations g
where coalesce(to_jsonb(g) ->> 'state', 'active') = 'active';

-- name: building_generation
select generation, model, revision, precision, dimensions
from embedding_generations g
where to_jsonb(g) ->> 'state' = 'building';

-- name: has_memories
-- Whether any agent has memories. Returns nothing of them.
select exists (select from memories);

-- name: drop_generation
-- Only if there are no memories.
delete from embedding_generations where generation = :generation;

-- name: add_generation
insert into embedding_generations (model, revision, precision, dimensions)
values (:model, :revision, :precision, :dimensions)
returning generation;

-- name: add_next_generation
insert into embedding_generations (model, revision, precision, dimensions, state)
values (:model, :revision, :precision, :dimensions, 'building');

-- name: embedding_dimensions
-- The dimensions of the column: pgvector keeps them as the type's modifier.
select atttypmod from pg_attribute
where attrelid = 'memories'::regclass and attname = 'embedding';

-- name: set_embedding_dimensions
select set_embedding_dimensions(:dimensions::integer);

-- name: try_reembedding
-- The key is 'reembe' in ASCII. The session holds the lock; false if another session does.
select pg_try_advisory_lock(125779818930789);

-- name: end_reembedding
select pg_advisory_unlock(125779818930789);

-- name: begin_reembedding
select begin_reembedding(:dimensions::integer);

-- name: abandon_reembedding
select abandon_reembedding();

-- name: switch_embeddings
select switch_embeddings();

-- name: count_missing_next
-- The number of all memories, and of those without a next embedding. Of all agents; returns nothing else.
select count(*) as memories, count(*) filter (where embedding_next is null) as missing from memories;

-- name: memories_to_reembed
-- Memories of all agents, for set_next_embeddings, which writes the embedding of a memory to that memory
-- only.
select id, agent_id, content
from memories
where id > :after_id and embedding_next is null
order by id
limit :max_rows;

-- name: set_next_embeddings
-- Leaves out memories whose content has changed, and locked rows. Locked rows are left for a later pass, so
-- that statements cannot deadlock.
with unlocked as (
    select m.id, m.agent_id, n.embedding
    from unnest(:ids::uuid[], :agent_ids::text[], :contents::text[], :embeddings::vector[])
        as n (id, agent_id, content, embedding)
    join memories m on m.agent_id = n.agent_id and m.id = n.id and m.content = n.content
    for no key update of m skip locked
)
update memories m
set embedding_next = n.embedding
from unlocked n
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
-- The same index as create_embedding_index creates for the column in use.
create index concurrently memories_embedding_next on memories using hnsw
    ((embedding_next::halfvec({dimensions})) halfvec_cosine_ops) with (ef_construction = 256)
where indexed;

-- name: create_missing_index
create index concurrently memories_embedding_next_missing on memories (id)
where embedding_next is null;

-- name: index_progress
select coalesce(max(tuples_done), 0) from pg_stat_progress_create_index
where relid = 'memories'::regclass;

-- name: wait_for_locks
-- Sets how long this transaction's statements wait for a lock, such as 250ms.
select set_config('lock_timeout', :timeout, true);

-- name: keep_vacuum_away
-- Makes an autovacuum end, unless it must not be interrupted; no other session waits for this lock. A
-- switch that gave up after less than a second would not make the autovacuum end.
lock table memories, memory_sketches in share update exclusive mode;

-- name: keep_writers_away
lock table memories in exclusive mode;

-- name: keep_all_away
lock table memories in access exclusive mode;

-- name: is_unchecked
-- Whether the next three statements still have to follow a switch.
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
