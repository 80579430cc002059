-- The lexical arm: what BM25 needs of each memory, beside it.

-- How terms were made and weighed. The newest is the one in use.
create table lexicons (
    lexicon smallint generated always as identity primary key,
    analyzer_version integer not null,
    language text not null,
    k1 double precision not null,
    b double precision not null,
    average_terms double precision not null,
    created_at timestamptz not null default now()
);

-- Null in memories of before; the store renews those, and those of an older lexicon, as it runs.
alter table memories
    add column lexicon smallint references lexicons,
    add column terms sparsevec(1000000000),
    add column term_keys bigint[];

-- A search reads every embedding and all terms of a scope: they stay in the row, and content goes
-- elsewhere first where a row is long.
alter table memories alter column embedding set storage main;
alter table memories alter column terms set storage main;
alter table memories set (toast_tuple_target = 4080);

-- Keys are hashes that no two scopes share, so this finds a scope's memories by their words.
create index memories_term_keys on memories using gin (term_keys);
-- What is left to renew.
create index memories_lexicon on memories (lexicon);

-- How many memories have a key: the sum over both tables. Changes are only ever added, so that
-- writers never wait for one another; the store folds them into the first as it runs.
create table document_frequencies (
    term_key bigint primary key,
    memories bigint not null
);
create table document_frequency_changes (
    term_key bigint not null,
    memories bigint not null
);
create index document_frequency_changes_key on document_frequency_changes (term_key) include (memories);

-- By triggers, so that no statement, of now or later, can forget it.
create function count_added_terms() returns trigger language plpgsql as $$
begin
    insert into document_frequency_changes
    select term_key, count(*) from added, unnest(added.term_keys) as term_key group by term_key;
    return null;
end
$$;

create function count_removed_terms() returns trigger language plpgsql as $$
begin
    insert into document_frequency_changes
    select term_key, -count(*) from removed, unnest(removed.term_keys) as term_key group by term_key;
    return null;
end
$$;

create function count_changed_terms() returns trigger language plpgsql as $$
begin
    insert into document_frequency_changes
    select term_key, sum(n)
    from (
        select term_key, 1 as n from added, unnest(added.term_keys) as term_key
        union all
        select term_key, -1 from removed, unnest(removed.term_keys) as term_key
    ) as changes
    group by term_key
    having sum(n) <> 0;
    return null;
end
$$;

create trigger count_added_terms after insert on memories
    referencing new table as added
    for each statement execute function count_added_terms();
create trigger count_removed_terms after delete on memories
    referencing old table as removed
    for each statement execute function count_removed_terms();
create trigger count_changed_terms after update on memories
    referencing old table as removed new table as added
    for each statement execute function count_changed_terms();
