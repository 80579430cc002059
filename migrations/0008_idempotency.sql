-- Writes that were made under a key of their caller's, for a day. What they stored is told by the
-- ids and times; the texts stand in the memories, and in the request that is made again.
create table idempotency_keys (
    agent_id text not null,
    key text not null,
    fingerprint bytea not null,
    ids uuid[] not null,
    created_at timestamptz[] not null,
    expires_at timestamptz[] not null,
    stored_at timestamptz not null,
    primary key (agent_id, key)
);
create index idempotency_keys_stored_at on idempotency_keys (stored_at);
