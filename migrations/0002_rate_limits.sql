-- One row for each agent and operation: the times of its hits in the last minute, oldest first.
-- Unlogged: after a crash of the database the counters start anew, and no hit waits for a disk.
create unlogged table rate_limits (
    agent_id text not null,
    operation text not null,
    hits timestamptz[] not null,
    allowed boolean not null,
    primary key (agent_id, operation)
);
