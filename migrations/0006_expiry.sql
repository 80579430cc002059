-- When a memory is over; null: never. No statement sees it from then on, and the store purges it.
alter table memories add column expires_at timestamptz;

-- What is to be purged, and what a count has to leave out until then.
create index memories_expires_at on memories (expires_at) where expires_at is not null;
