-- Rate limits: how many calls each agent made in the last minute.

-- name: hit_rate_limits
-- Counts calls[i] calls of agent_ids[i] (each agent once, sorted). A true sliding window: each row keeps
-- the times of the last minute's hits, and is locked while they change. Grants as many calls as fit; a
-- refused call is not a hit. reset_s is the time until one more call is possible than the remaining ones.
insert into rate_limits as r (agent_id, operation, hits, granted)
select n.agent_id, :operation::text, array_fill(clock_timestamp(), array[n.calls]), n.calls
from (
    select agent_id, least(calls, :per_minute::int) as calls
    from unnest(:agent_ids::text[], :calls::int[]) as u (agent_id, calls)
) as n
on conflict (agent_id, operation) do update set (hits, granted) = (
    select recent.hits || array_fill(clock.at, array[allowed.calls]), allowed.calls
    from (select clock_timestamp() as at offset 0) as clock,
        lateral (
            select coalesce(array_agg(hit order by hit), '{}') as hits
            from unnest(r.hits) as hit
            where hit > clock.at - interval '1 minute'
        ) as recent,
        lateral (
            select greatest(0, least(excluded.granted, :per_minute::int - cardinality(recent.hits)))
                as calls
        ) as allowed
)
returning agent_id, granted, greatest(0, :per_minute::int - cardinality(r.hits)) as remaining,
    date_part(
        'epoch',
        r.hits[greatest(1, cardinality(r.hits) - :per_minute::int + 1)] + interval '1 minute'
            - clock_timestamp()
    ) as reset_s;

-- name: purge_rate_limits
-- Skips locked rows instead of waiting, because hits lock several agents' rows in another order.
delete from rate_limits
where ctid = any(array(
    select ctid from rate_limits
    where hits[cardinality(hits)] < clock_timestamp() - interval '1 minute'
    for update skip locked
));
