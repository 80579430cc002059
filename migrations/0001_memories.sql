create extension if not exists vector;

create table embedding_generations (
    generation smallint generated always as identity primary key,
    model text not null,
    revision text not null,
    precision text not null,
    dimensions integer not null,
    created_at timestamptz not null default now(),
    unique (model, revision, precision)
);

create table memories (
    id uuid primary key,
    agent_id text not null,
    user_id text not null,
    content text not null,
    embedding vector(384) not null,
    generation smallint not null references embedding_generations,
    importance double precision not null,
    memory_type text not null check (memory_type in ('episodic', 'semantic', 'procedural')),
    metadata jsonb not null,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

-- A scope, newest first: searches, listings and counts of one user of an agent.
create index memories_scope on memories (agent_id, user_id, created_at desc, id desc);
-- The same for all users of an agent.
create index memories_agent on memories (agent_id, created_at desc, id desc);
-- The nearest of scopes that are too large to be scored whole.
create index memories_embedding on memories using hnsw (embedding vector_cosine_ops);

-- Another model may have another width. Called while the table is empty: vectors of two models
-- never stand in one index.
create function set_embedding_dimensions(dimensions integer) returns void
language plpgsql as $$
begin
    execute format('alter table memories alter column embedding type vector(%s)', dimensions);
end
$$;
