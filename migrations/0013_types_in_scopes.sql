-- The newest of one type are found without reading the rows of the others.
drop index memories_scope;
create index memories_scope on memories (agent_id, user_id, created_at desc, id desc, memory_type)
    where superseded_by is null;
