-- More neighbours to choose from for each memory in the index of vectors: with 128, two of a hundred
-- searches among a million memories ended in a wrong region, with 256 one of a thousand. An index that
-- is there keeps its shape, since to build it takes minutes: `reindex index concurrently
-- memories_embedding` does so beside the service.
create or replace function create_embedding_index(dimensions integer) returns void
language plpgsql as $$
begin
    execute format(
        'create index memories_embedding on memories using hnsw '
        '((embedding::halfvec(%s)) halfvec_cosine_ops) with (ef_construction = 256) where indexed',
        dimensions
    );
end
$$;

alter index memories_embedding set (ef_construction = 256);
-- Of a run that is in progress.
alter index if exists memories_embedding_next set (ef_construction = 256);
