-- The database: migrations, extensions, sessions.

-- name: ping
select 1;

-- name: lock_migrations
-- The key is 'memex' in ASCII. The lock is held until the end of the transaction.
select pg_advisory_xact_lock(469853103480);

-- name: create_migrations_table
create table if not exists schema_migrations (
    version integer primary key,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default now()
);

-- name: applied_migrations
select version, name, checksum from schema_migrations order by version;

-- name: record_migration
insert into schema_migrations (version, name, checksum) values (:version, :name, :checksum);

-- name: vector_version
select extversion from pg_extension where extname = 'vector';

-- name: vector_schema
select n.nspname from pg_extension e
join pg_namespace n on n.oid = e.extnamespace
where e.extname = 'vector';

-- name: count_other_sessions
-- Other sessions of this user in this database.
select count(*) from pg_stat_activity
where datname = current_database() and usename = session_user and pid <> pg_backend_pid();
