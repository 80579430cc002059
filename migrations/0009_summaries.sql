-- What a memory was condensed into. Such a source is kept, and hidden from what does not ask for it;
-- it goes when its summary goes.
alter table memories
    add column superseded_by uuid references memories on delete cascade,
    add column superseded_at timestamptz,
    -- Not of summaries, nor of what a summary gave back: those stay as they are.
    add column condensable boolean not null default true;

-- A row is in one of these: what is hidden costs those nothing that do not ask for it.
drop index memories_scope;
create index memories_scope on memories (agent_id, user_id, created_at desc, id desc)
    where superseded_by is null;
create index memories_superseded on memories (agent_id, user_id, created_at desc, id desc)
    where superseded_by is not null;

-- The sources of a summary.
create index memories_superseded_by on memories (superseded_by) where superseded_by is not null;
-- What is to be purged, where a setting says so.
create index memories_superseded_at on memories (superseded_at) where superseded_at is not null;
-- Which scopes have much to condense, and a scope's oldest. What is to expire is left to do so.
create index memories_condensable on memories (agent_id, user_id, created_at, id)
    where memory_type = 'episodic' and superseded_by is null and condensable and expires_at is null;

-- Hidden memories' words count for nobody.
create or replace function count_added_terms() returns trigger language plpgsql as $$
begin
    insert into document_frequency_changes
    select term_key, count(*) from added, unnest(added.term_keys) as term_key
    where added.superseded_by is null
    group by term_key;
    return null;
end
$$;

create or replace function count_removed_terms() returns trigger language plpgsql as $$
begin
    insert into document_frequency_changes
    select term_key, -count(*) from removed, unnest(removed.term_keys) as term_key
    where removed.superseded_by is null
    group by term_key;
    return null;
end
$$;

create or replace function count_changed_terms() returns trigger language plpgsql as $$
begin
    insert into document_frequency_changes
    select term_key, sum(n)
    from (
        select term_key, 1 as n from added, unnest(added.term_keys) as term_key
        where added.superseded_by is null
        union all
        select term_key, -1 from removed, unnest(removed.term_keys) as term_key
        where removed.superseded_by is null
    ) as changes
    group by term_key
    having sum(n) <> 0;
    return null;
end
$$;

-- A source that expires with its summary says what it said.
drop trigger keep_version on memories;
create trigger keep_version after update on memories
    for each row
    when (
        new.superseded_by is null and
        (old.content, old.importance, old.memory_type, old.metadata, old.expires_at)
        is distinct from
        (new.content, new.importance, new.memory_type, new.metadata, new.expires_at)
    )
    execute function keep_version();
