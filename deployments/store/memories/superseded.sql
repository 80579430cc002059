-- Hiding sources of summaries, and showing them again.

-- name: show_sources
-- Shows a summary's sources again. They keep the expiry that they got from the summary.
update memories
set superseded_by = null, superseded_at = null, condensable = :condensable::boolean
where agent_id = :agent_id and superseded_by = :summary_id
returning {{columns}};

-- name: drop_summary
-- Only after its sources are shown again.
delete from memories where agent_id = :agent_id and id = :summary_id;

-- name: expire_sources
-- Sets the expiry of a summary's sources, together with that of the summary.
update memories set expires_at = :expires_at::timestamptz
where agent_id = :agent_id and superseded_by = :summary_id;

-- name: hide_imported
-- Hides imported memories whose summary is in the same scope.
update memories m
set superseded_by = n.summary_id, superseded_at = now()
from unnest(:ids::uuid[], :summary_ids::uuid[]) as n (id, summary_id)
where m.agent_id = :agent_id and m.id = n.id and exists (
    select from memories s
    where s.agent_id = :agent_id and s.id = n.summary_id and s.user_id = m.user_id and s.id <> m.id
);
