-- What memories said before they were changed, from the first (1) on. They go with their memory.
create table memory_versions (
    memory_id uuid not null,
    version integer not null,
    agent_id text not null,
    content text not null,
    importance double precision not null,
    memory_type text not null,
    metadata jsonb not null,
    expires_at timestamptz,
    written_at timestamptz not null,
    replaced_at timestamptz not null,
    primary key (memory_id, version)
);

-- By triggers, so that no statement, of now or later, can forget it. Versions of one memory are
-- numbered under its row's lock.
create function keep_version() returns trigger language plpgsql as $$
begin
    insert into memory_versions
    select old.id, coalesce(max(version), 0) + 1, old.agent_id, old.content, old.importance,
        old.memory_type, old.metadata, old.expires_at, old.updated_at, new.updated_at
    from memory_versions
    where memory_id = old.id;
    return null;
end
$$;

create function drop_versions() returns trigger language plpgsql as $$
begin
    delete from memory_versions using removed where memory_versions.memory_id = removed.id;
    return null;
end
$$;

create trigger keep_version after update on memories
    for each row
    when (
        (old.content, old.importance, old.memory_type, old.metadata, old.expires_at)
        is distinct from
        (new.content, new.importance, new.memory_type, new.metadata, new.expires_at)
    )
    execute function keep_version();
create trigger drop_versions after delete on memories
    referencing old table as removed
    for each statement execute function drop_versions();
