-- Moving all memories to another model while the service runs: their next embeddings are made beside
-- those in use, and take their place at once.

-- A column holds embeddings of one model alone, so the generation is the column's. Rows that name it
-- would have to be written anew when it changes.
alter table memories drop column generation;

alter table embedding_generations
    add column state text not null default 'active' check (state in ('active', 'building')),
    -- When all memories were moved to it; null: it was there from the first of them on.
    add column reembedded_at timestamptz;
create unique index embedding_generations_state on embedding_generations (state);

-- Of a memory whose content changes, the next embedding has to be made again.
create function forget_next_embedding() returns trigger language plpgsql as $$
begin
    new.embedding_next := null;
    return new;
end
$$;

create function begin_reembedding(dimensions integer) returns void language plpgsql as $$
begin
    execute format('alter table memories add column embedding_next vector(%s)', dimensions);
    alter table memories alter column embedding_next set storage main;
    create trigger forget_next_embedding before update on memories
        for each row when (old.content is distinct from new.content)
        execute function forget_next_embedding();
end
$$;

-- The indexes of a column go with it.
create function abandon_reembedding() returns void language plpgsql as $$
begin
    drop trigger forget_next_embedding on memories;
    alter table memories drop column embedding_next;
    delete from embedding_generations where state = 'building';
end
$$;

-- Called where no memory lacks its next embedding, and none can come to. No step reads the table:
-- that no embedding is null is held for new rows at once, and looked at for the others afterwards.
create function switch_embeddings() returns void language plpgsql as $$
begin
    drop trigger forget_next_embedding on memories;
    drop index memories_embedding_next_missing;
    alter table memories drop column embedding;
    alter table memories rename column embedding_next to embedding;
    alter index memories_embedding_next rename to memories_embedding;
    alter table memories add constraint memories_embedding_there
        check (embedding is not null) not valid;
    delete from embedding_generations where state = 'active';
    update embedding_generations set state = 'active', reembedded_at = now()
    where state = 'building';
end
$$;

-- Another type takes the type's own storage, and a search reads every embedding of a scope.
alter table memories alter column embedding set storage main;
create or replace function set_embedding_dimensions(dimensions integer) returns void
language plpgsql as $$
begin
    drop index memories_embedding;
    execute format('alter table memories alter column embedding type vector(%s)', dimensions);
    alter table memories alter column embedding set storage main;
    perform create_embedding_index(dimensions);
end
$$;
