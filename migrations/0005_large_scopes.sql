-- The nearest in half precision: half the memory, and width for larger models. Scores are taken of
-- the column, in full. ef_construction 64, pgvector's default, left some regions out of reach.
drop index memories_embedding;

create function create_embedding_index(dimensions integer) returns void
language plpgsql as $$
begin
    execute format(
        'create index memories_embedding on memories using hnsw '
        '((embedding::halfvec(%s)) halfvec_cosine_ops) with (ef_construction = 128)',
        dimensions
    );
end
$$;

select create_embedding_index(atttypmod) from pg_attribute
where attrelid = 'memories'::regclass and attname = 'embedding';

create or replace function set_embedding_dimensions(dimensions integer) returns void
language plpgsql as $$
begin
    drop index memories_embedding;
    execute format('alter table memories alter column embedding type vector(%s)', dimensions);
    perform create_embedding_index(dimensions);
end
$$;

-- What a filter on metadata leaves of a large scope.
create index memories_metadata on memories using gin (metadata jsonb_path_ops);
