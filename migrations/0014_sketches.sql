-- What tells about a memory of a large scope without its row: when it was made, how important it is, and
-- the signs of its embedding's dimensions; by each key and value of its metadata. Where a filter leaves
-- ten thousand of a million memories, each lies on a page of its own, and to come to it takes longer
-- than to score it. Their sketches are side by side.

create table memory_sketches (
    -- Of the scope, the key and the value: a hash, so a search looks again at what it finds.
    sketch_key bigint not null,
    created_at timestamptz not null,
    memory_id uuid not null,
    importance real not null,
    memory_type text not null,
    expires_at timestamptz,
    signs bit varying not null,
    -- Nothing but this index is read.
    primary key (sketch_key, created_at, memory_id) include (importance, memory_type, expires_at, signs)
)
-- Where it has not been vacuumed since, the table is read as well.
with (autovacuum_vacuum_insert_scale_factor = 0.02);

-- As `metadata @> {key: value}` compares values: 1 is 1.0.
create function sketch_key(agent_id text, user_id text, key text, value jsonb) returns bigint
language sql stable parallel safe
return jsonb_hash_extended(jsonb_build_array(agent_id, user_id, key, value), 0);

-- Of what has more than one value, a filter may ask for a part.
create function sketch_keys(agent_id text, user_id text, metadata jsonb) returns setof bigint
language sql stable parallel safe rows 4
begin atomic
    select sketch_key(agent_id, user_id, m.key, m.value) from jsonb_each(metadata) as m
    where jsonb_typeof(m.value) not in ('object', 'array');
end;

-- By triggers, so that no statement, of now or later, can forget it.
create function keep_sketches() returns trigger language plpgsql as $$
begin
    if tg_op <> 'INSERT' and old.indexed then
        delete from memory_sketches
        where sketch_key = any(array(
            select key from sketch_keys(old.agent_id, old.user_id, old.metadata) as key
        ))
            and created_at = old.created_at and memory_id = old.id;
    end if;
    if tg_op <> 'DELETE' and new.indexed and new.superseded_by is null then
        insert into memory_sketches
        select key, new.created_at, new.id, new.importance, new.memory_type, new.expires_at,
            binary_quantize(new.embedding)
        from sketch_keys(new.agent_id, new.user_id, new.metadata) as key
        on conflict do nothing;
    end if;
    return null;
end
$$;

create trigger add_sketches after insert on memories
    for each row when (new.indexed)
    execute function keep_sketches();
create trigger drop_sketches after delete on memories
    for each row when (old.indexed)
    execute function keep_sketches();
-- A new content has a new embedding. That column is not named here, since it is dropped by a switch to
-- another model.
create trigger change_sketches after update on memories
    for each row when (
        (old.indexed or new.indexed)
        and (
            old.indexed, old.content, old.metadata, old.importance, old.memory_type, old.created_at,
            old.expires_at, old.superseded_by is null
        ) is distinct from (
            new.indexed, new.content, new.metadata, new.importance, new.memory_type, new.created_at,
            new.expires_at, new.superseded_by is null
        )
    )
    execute function keep_sketches();

-- Whether all memories of a scope have their sketches, as far as somebody has looked.
alter table indexed_scopes add column has_sketches boolean not null default false;

-- As before, and the sketches of the embeddings that were in use go with them.
create or replace function switch_embeddings() returns void language plpgsql as $$
begin
    drop trigger forget_next_embedding on memories;
    drop index memories_embedding_next_missing;
    alter table memories drop column embedding;
    alter table memories rename column embedding_next to embedding;
    alter index memories_embedding_next rename to memories_embedding;
    alter table memories add constraint memories_embedding_there
        check (embedding is not null) not valid;
    truncate memory_sketches;
    update indexed_scopes set has_sketches = false;
    delete from embedding_generations where state = 'active';
    update embedding_generations set state = 'active', reembedded_at = now()
    where state = 'building';
end
$$;
