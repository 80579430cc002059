-- A search as of an earlier time finds what memories said then: a version has what a search reads of a
-- memory. It is found by its scope, and ranked by its own terms and embedding.

alter table memory_versions
    add column user_id text,
    add column created_at timestamptz,
    -- By a change; by touches, which only renew created_at: one version for all of them until the next
    -- change; or by expiry: the last version of a memory that was purged.
    add column ended_by text not null default 'change'
        check (ended_by in ('change', 'touch', 'expiry')),
    -- Null if the next version, or the memory, has the same content; and of versions from before this
    -- migration.
    add column embedding vector,
    add column generation smallint,
    add column lexicon smallint,
    add column terms sparsevec(1000000000);

alter table memory_versions alter column embedding set storage main;
alter table memory_versions alter column terms set storage main;
alter table memory_versions set (toast_tuple_target = 4080);

update memory_versions v set user_id = m.user_id, created_at = m.created_at
from memories m
where m.id = v.memory_id;
-- The trigger leaves none without a memory.
delete from memory_versions where user_id is null;
alter table memory_versions
    alter column user_id set not null,
    alter column created_at set not null;

-- What a scope has replaced since a time.
create index memory_versions_scope on memory_versions (agent_id, user_id, replaced_at);
-- What is left to renew.
create index memory_versions_lexicon on memory_versions (lexicon);
-- What is left of purged memories.
create index memory_versions_expired on memory_versions (replaced_at) where ended_by = 'expiry';
-- What a scope has superseded since a time.
create index memories_superseded_since on memories (agent_id, user_id, superseded_at)
    where superseded_at is not null;

create or replace function keep_version() returns trigger language plpgsql as $$
declare
    is_touch constant boolean :=
        (old.content, old.importance, old.memory_type, old.metadata, old.expires_at)
        is not distinct from
        (new.content, new.importance, new.memory_type, new.metadata, new.expires_at);
    has_new_content constant boolean := old.content is distinct from new.content;
begin
    if is_touch then
        update memory_versions set replaced_at = new.updated_at
        where memory_id = old.id and ended_by = 'touch'
            and version = (select max(version) from memory_versions where memory_id = old.id);
        if found then
            return null;
        end if;
    end if;
    insert into memory_versions (
        memory_id, version, agent_id, user_id, content, importance, memory_type, metadata,
        created_at, expires_at, written_at, replaced_at, ended_by, embedding, generation,
        lexicon, terms
    )
    select old.id, coalesce(max(version), 0) + 1, old.agent_id, old.user_id, old.content,
        old.importance, old.memory_type, old.metadata, old.created_at, old.expires_at,
        old.updated_at, new.updated_at, case when is_touch then 'touch' else 'change' end,
        case when has_new_content then old.embedding end,
        case when has_new_content
            then (select generation from embedding_generations where state = 'active') end,
        old.lexicon, old.terms
    from memory_versions
    where memory_id = old.id;
    return null;
end
$$;

drop trigger keep_version on memories;
create trigger keep_version after update on memories
    for each row
    when (
        new.superseded_by is null and
        (
            old.content, old.importance, old.memory_type, old.metadata, old.expires_at,
            old.created_at
        ) is distinct from (
            new.content, new.importance, new.memory_type, new.metadata, new.expires_at,
            new.created_at
        )
    )
    execute function keep_version();

-- Versions go with their memory, unless it expired and was purged with its last version kept.
create or replace function drop_versions() returns trigger language plpgsql as $$
begin
    delete from memory_versions v using removed r
    where v.memory_id = r.id and v.agent_id = r.agent_id
        and not exists (
            select from memory_versions last
            where last.memory_id = r.id and last.agent_id = r.agent_id
                and last.ended_by = 'expiry' and last.replaced_at = r.expires_at
        );
    return null;
end
$$;
