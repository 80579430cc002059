-- Rate limits: how many calls each agent made in the last minute.

-- name: hit_rate_limits
-- Counts calls[i] calls of agent_ids[i] (each agent once, sorted). A true sliding window: the times of the
-- last minute's hits, under the row's lock. As many calls as fit are granted; a refused call is not a hit.
-- retry_after_s is when the hit that stands in the way of the next call leaves the window; null if none
-- does.
insert into rate_limits as r (agent_id, operation, hits, granted)
select n.agent_id, :operation::text, array_fill(clock_timestamp(), array[n.calls]), n.calls
from (
    select agent_id, least(calls, :per_minute::int) as calls
    from unnest(:agent_ids::text[], :calls::int[]) as u (agent_id, calls)
) as n
on conflict (agent_id, operation) do update set (hits, granted) = (
    select live.hits || array_fill(clock.at, array[fitting.calls]), fitting.calls
    from (select clock_timestamp() as at offset 0) as clock,
        lateral (
            select coalesce(array_agg(hit order by hit), '{}') as hits
            from unnest(r.hits) as hit
            where hit > clock.at - interval '1 minute'
        ) as live,
        lateral (
            select greatest(0, least(excluded.granted, :per_minute::int - cardinality(live.hits)))
                as calls
        ) as fitting
)
returning agent_id, granted, date_part(
    'epoch',
    r.hits[cardinality(r.hits) - :per_minute::int + 1] + interval '1 minute' - clock_timestamp()
) as retry_after_s;

-- name: purge_rate_limits
-- Rows in use are skipped, not waited for: hits lock several agents' rows in an order of their own.
delete from rate_limits
where ctid = any(array(
    select ctid from rate_limits
    where hits[cardinality(hits)] < clock_timestamp() - interval '1 minute'
    for update skip locked
));
