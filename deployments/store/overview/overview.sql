-- Agents, users and days, with their numbers of memories.

-- name: agents
-- The ids of all agents, and nothing else. Each step skips to the next agent in the index of scopes,
-- however many memories the current one has.
with recursive steps as (
    select 1 as step, (
        select agent_id from memories
        where agent_id > coalesce(:after::text, '')
        order by agent_id
        limit 1
    ) as agent_id
    union all
    select step + 1, (
        select m.agent_id from memories m
        where m.agent_id > steps.agent_id
        order by m.agent_id
        limit 1
    )
    from steps
    where agent_id is not null and step < :max_rows::int
)
select agent_id from steps where agent_id is not null order by step;

-- name: users
-- The ids of the agent's users, in steps as in `agents`.
with recursive steps as (
    select 1 as step, (
        select user_id from memories
        where agent_id = :agent_id and superseded_by is null and user_id > coalesce(:after::text, '')
        order by user_id
        limit 1
    ) as user_id
    union all
    select step + 1, (
        select m.user_id from memories m
        where m.agent_id = :agent_id and m.superseded_by is null and m.user_id > steps.user_id
        order by m.user_id
        limit 1
    )
    from steps
    where user_id is not null and step < :max_rows::int
)
select user_id from steps where user_id is not null order by step;

-- name: tally_agents
-- Counts each agent's memories up to max_counted + 1, in the index of scopes only. Expired memories that
-- are not purged yet are counted and subtracted.
select n.agent_id, (
    select count(*)
    from (
        select from memories
        where agent_id = n.agent_id and superseded_by is null
        limit :max_counted::int + n.expired + 1
    ) as first_rows
) - n.expired as memories
from (
    select agent_id, place, (
        select count(*) from memories
        where agent_id = s.agent_id and superseded_by is null and expires_at <= now()
    ) as expired
    from unnest(:agent_ids::text[]) with ordinality as s (agent_id, place)
    offset 0
) as n
order by n.place;

-- name: tally_users
-- Each user's memories, counted as in `tally_agents`.
select n.user_id, (
    select count(*)
    from (
        select from memories
        where agent_id = :agent_id and user_id = n.user_id and superseded_by is null
        limit :max_counted::int + n.expired + 1
    ) as first_rows
) - n.expired as memories
from (
    select user_id, place, (
        select count(*) from memories
        where agent_id = :agent_id and user_id = u.user_id and superseded_by is null
            and expires_at <= now()
    ) as expired
    from unnest(:user_ids::text[]) with ordinality as u (user_id, place)
    offset 0
) as n
order by n.place;

-- name: timeline_of_user
-- Counts the newest max_counted memories since :since, by UTC day and type.
select (created_at at time zone 'UTC')::date as day, memory_type, count(*) as memories
from (
    select created_at, memory_type from memories
    where agent_id = :agent_id and user_id = :user_id and superseded_by is null and {{alive}}
        and created_at >= :since
    order by created_at desc, id desc
    limit :max_counted::int
) as newest
group by day, memory_type
order by day;

-- name: timeline_of_agent
-- As `timeline_of_user`, for all the agent's users.
select (created_at at time zone 'UTC')::date as day, memory_type, count(*) as memories
from (
    select created_at, memory_type from memories
    where agent_id = :agent_id and superseded_by is null and {{alive}} and created_at >= :since
    order by created_at desc, id desc
    limit :max_counted::int
) as newest
group by day, memory_type
order by day;
