-- Exports and imports.

-- name: bound_idle_transaction
-- In a transaction: Postgres ends it if nobody asks anything of it for so long.
select set_config('idle_in_transaction_session_timeout', :idle_ms, true);

