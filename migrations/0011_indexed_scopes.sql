-- The index of vectors has the memories of large scopes alone. Most scopes are small: they are scored
-- whole, and to keep them in the index would be most of what their writes cost.

create table indexed_scopes (
    agent_id text not null,
    user_id text not null,
    listed_at timestamptz not null default clock_timestamp(),
    -- Whether the index has all of the scope's memories. New ones go into it from when it is listed.
    is_filled boolean not null default false,
    primary key (agent_id, user_id)
);

alter table memories add column indexed boolean not null default false;
drop index memories_embedding;
-- Of a run that is in progress, which builds it again.
drop index if exists memories_embedding_next;

create or replace function create_embedding_index(dimensions integer) returns void
language plpgsql as $$
begin
    execute format(
        'create index memories_embedding on memories using hnsw '
        '((embedding::halfvec(%s)) halfvec_cosine_ops) with (ef_construction = 128) where indexed',
        dimensions
    );
end
$$;

-- What is there already: by the default of MEMEX_DB_EXACT_SEARCH_ROWS. With a lower one, searches list
-- the others.
insert into indexed_scopes (agent_id, user_id, is_filled)
select agent_id, user_id, true from memories
where superseded_by is null
group by agent_id, user_id
having count(*) > 20000;

alter table memories disable trigger user;
update memories m set indexed = true
from indexed_scopes s
where m.agent_id = s.agent_id and m.user_id = s.user_id;
alter table memories enable trigger user;

select create_embedding_index(atttypmod) from pg_attribute
where attrelid = 'memories'::regclass and attname = 'embedding';
