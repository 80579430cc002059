-- Lexicons (the settings that stored terms are made with), and the document frequencies of terms. Both are
-- kept for all agents; no statement here returns a memory to a caller.

-- name: active_lexicon
select lexicon, analyzer_version, language, k1, b, average_terms
from lexicons
order by lexicon desc
limit 1;

-- name: lock_lexicons
lock table lexicons in exclusive mode;

-- name: add_lexicon
-- Settings that were in use before also get a new number, because the newest lexicon is the one in use.
insert into lexicons (analyzer_version, language, k1, b, average_terms)
values (:analyzer_version, :language, :k1, :b, :average_terms)
returning lexicon;

-- name: count_outdated
-- The number of memories and versions of all agents whose terms are missing or outdated. Returns nothing
-- else.
select (
    select count(*) from memories where lexicon is null or lexicon < :lexicon
) + (
    select count(*) from memory_versions where lexicon is null or lexicon < :lexicon
);

-- name: outdated_memories
-- Memories of all agents, for renew_terms, which writes the terms of a memory to that memory only. Locked
-- rows are left for a later call.
select id, agent_id, user_id, content
from memories
where lexicon is null or lexicon < :lexicon
limit :max_rows
for update skip locked;

-- name: renew_terms
-- term_keys are sent as text, because an array of arrays would have to be rectangular.
update memories m
set lexicon = :lexicon::smallint, terms = n.terms, term_keys = n.term_keys::bigint[]
from unnest(:ids::uuid[], :agent_ids::text[], :terms::sparsevec[], :term_keys::text[])
    as n (id, agent_id, terms, term_keys)
where m.agent_id = n.agent_id and m.id = n.id;

-- name: outdated_versions
-- As outdated_memories, for renew_versions.
select memory_id as id, version, agent_id, user_id, content
from memory_versions
where lexicon is null or lexicon < :lexicon
limit :max_rows
for update skip locked;

-- name: renew_versions
update memory_versions v
set lexicon = :lexicon::smallint, terms = n.terms
from unnest(:ids::uuid[], :versions::int[], :agent_ids::text[], :terms::sparsevec[])
    as n (id, version, agent_id, terms)
where v.agent_id = n.agent_id and v.memory_id = n.id and v.version = n.version;

-- name: wait_for_folding
-- Waits for the lock of try_folding.
select pg_advisory_xact_lock(465692322147);

-- name: try_folding
-- The key is 'lexic' in ASCII. The lock is held until the end of the transaction; false if another session
-- holds it.
select pg_try_advisory_xact_lock(465692322147);

-- name: fold_frequencies
-- Adds up to max_changes changes to the document frequencies.
with changes as (
    delete from document_frequency_changes
    where ctid = any(array(select ctid from document_frequency_changes limit :max_changes))
    returning term_key, memories
),
sums as (
    select term_key, sum(memories)::bigint as memories from changes group by term_key
)
merge into document_frequencies as f
using sums on f.term_key = sums.term_key
when matched and f.memories + sums.memories = 0 then delete
when matched then update set memories = f.memories + sums.memories
when not matched and sums.memories <> 0 then insert values (sums.term_key, sums.memories);

-- name: has_more_changes
-- Whether there are more than :changes changes.
select exists (select from document_frequency_changes offset :changes);

-- name: lock_frequencies
-- Writers wait; readers do not.
lock table memories, document_frequencies, document_frequency_changes in share row exclusive mode;

-- name: clear_frequency_changes
delete from document_frequency_changes;

-- name: clear_frequencies
delete from document_frequencies;

-- name: count_frequencies
-- Counts the terms of all agents; reads only keys.
insert into document_frequencies
select term_key, count(*) from memories, unnest(term_keys) as term_key
where superseded_by is null
group by term_key;
