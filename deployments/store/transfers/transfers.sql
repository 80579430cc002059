-- Exports and imports.

-- name: bound_idle_transaction
-- Postgres ends this transaction if it is idle for longer than :idle_ms.
select set_config('idle_in_transaction_session_timeout', :idle_ms, true);

