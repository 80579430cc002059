-- A filter by a value also finds the memories that have it in a list, so a list's entries have sketches, too.

-- Waits for writes that use the function as it was.
lock table memories in share row exclusive mode;

create or replace function sketch_keys(agent_id text, user_id text, metadata jsonb) returns setof bigint
language sql stable parallel safe rows 4
begin atomic
    select sketch_key(agent_id, user_id, m.key, entry.value)
    from jsonb_each(metadata) as m,
        jsonb_array_elements(
            case jsonb_typeof(m.value) when 'array' then m.value else jsonb_build_array(m.value) end
        ) as entry
    where jsonb_typeof(entry.value) not in ('object', 'array');
end;

-- The store adds the missing ones in the background.
update indexed_scopes set has_sketches = false;
