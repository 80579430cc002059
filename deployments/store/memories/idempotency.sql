-- Write keys, and what is kept of the writes under them.

-- name: try_idempotency_key
-- The lock is held until the end of the transaction; false if another call holds it.
select pg_try_advisory_xact_lock(hashtext(:agent_id::text), hashtext(:key::text));

-- name: idempotency_key
select fingerprint, ids, created_at, expires_at, stored_at, answer
from idempotency_keys
where agent_id = :agent_id and key = :key and stored_at > now() - interval '24 hours';

-- name: add_idempotency_key
-- Replaces an existing key of the same name, which is too old to count.
insert into idempotency_keys (
    agent_id, key, fingerprint, ids, created_at, expires_at, stored_at, answer
)
values (
    :agent_id, :key, :fingerprint, :ids, :created_at, :expires_at,
    coalesce(:stored_at::timestamptz, now()), :answer
)
on conflict (agent_id, key) do update set
    fingerprint = excluded.fingerprint, ids = excluded.ids, created_at = excluded.created_at,
    expires_at = excluded.expires_at, stored_at = excluded.stored_at, answer = excluded.answer;

-- name: as_stored
-- JSON as the table of memories returns it: numbers and the order of keys may differ from the request's.
select :metadata::jsonb[] as metadata;

-- name: drop_kept_answers_of_memory
-- Of a memory that has expired: for others, a trigger on memories does it.
update idempotency_keys set answer = null
where agent_id = :agent_id and ids[1] = :memory_id and answer is not null;

-- name: drop_kept_answers_of_user
update idempotency_keys set answer = null
where agent_id = :agent_id and answer ->> 'user_id' = :user_id;

-- name: purge_idempotency_keys
delete from idempotency_keys
where ctid = any(array(
    select ctid from idempotency_keys
    where stored_at <= now() - interval '24 hours'
    for update skip locked
));
