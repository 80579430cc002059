-- Changes and deletions can be made under a key, too. What a change answered is kept here whole, because
-- a request names only some fields of its memory; what a deletion of a scope answered is a number.
alter table idempotency_keys add column answer jsonb;

-- The answers to changes of a memory, whose id is the only one of `ids`.
create index idempotency_keys_changed on idempotency_keys ((ids[1])) where answer is not null;

-- With a memory that is deleted, its kept answers go, and then only its id is answered. Those of a memory
-- that has expired stay until their day is over, so that a repeated change is answered as the first time.
create function drop_kept_answers() returns trigger language plpgsql as $$
begin
    update idempotency_keys k set answer = null
    from removed
    where k.answer is not null and k.ids[1] = removed.id and k.agent_id = removed.agent_id
        and (removed.expires_at is null or removed.expires_at > now());
    return null;
end
$$;
create trigger drop_kept_answers after delete on memories
    referencing old table as removed
    for each statement execute function drop_kept_answers();
