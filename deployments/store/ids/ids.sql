-- Ids that were stored before there were rules for them. These statements find and rename scopes for an
-- operator; none returns a memory to a caller.

-- name: uncommon_scopes
-- The scopes of all agents whose ids are not plain ASCII, which are few; the caller applies the rules.
select agent_id, user_id, count(*) as memories
from memories
where agent_id !~ '^[!-~]([ -~]*[!-~])?$' or user_id !~ '^[!-~]([ -~]*[!-~])?$'
    or agent_id in ('.', '..') or user_id in ('.', '..')
group by agent_id, user_id
order by agent_id, user_id;

-- name: has_scope
select exists (select from memories where agent_id = :agent_id and user_id = :user_id);

-- name: memories_to_rename
select id, content
from memories
where agent_id = :agent_id and user_id = :user_id
limit :max_rows
for update;

-- name: rename_memories
-- The memories leave the vector index, whose sketches are of the old scope. Their terms are given anew,
-- because a term's key is of its scope.
update memories m
set agent_id = :new_agent_id, user_id = :new_user_id, indexed = false,
    lexicon = :lexicon::smallint, terms = n.terms, term_keys = n.term_keys::bigint[]
from unnest(:ids::uuid[], :terms::sparsevec[], :term_keys::text[]) as n (id, terms, term_keys)
where m.agent_id = :agent_id and m.id = n.id;

-- name: rename_versions
-- Their terms are renewed in the background.
update memory_versions
set agent_id = :new_agent_id, user_id = :new_user_id, lexicon = null, terms = null
where agent_id = :agent_id and user_id = :user_id;

-- name: forget_listed_scope
-- A later search lists the scope again if it is large.
delete from indexed_scopes where agent_id = :agent_id and user_id = :user_id;

-- name: forget_keys_of_agent
-- No request can repeat these writes, because the API refuses the agent's id.
delete from idempotency_keys where agent_id = :agent_id;
