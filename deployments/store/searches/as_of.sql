-- Searches of a scope as it was at an earlier time, if it has changed since. If it has not, the statements
-- of search.sql find the same.

-- name: scopes_changed_since
-- The numbers, from 1, of the scopes in which a memory was changed, superseded or has expired since as_of.
-- The last condition reads what expired since then and is not purged yet, in whatever scope (hence the
-- offset): that is less than a minute of it.
select s.place
from unnest(:agent_ids::text[], :user_ids::text[], :as_of::timestamptz[])
    with ordinality as s (agent_id, user_id, as_of, place)
where exists (
        select from memory_versions
        where agent_id = s.agent_id and user_id = s.user_id and replaced_at > s.as_of
    )
    or exists (
        select from memories
        where agent_id = s.agent_id and user_id = s.user_id and superseded_at > s.as_of
    )
    or exists (
        select from (
            select agent_id, user_id from memories
            where expires_at > s.as_of and expires_at <= now()
            offset 0
        ) as expired
        where agent_id = s.agent_id and user_id = s.user_id
    );

-- fragment: known_then
-- As in_type_and_time, at as_of.
(expires_at is null or expires_at > q.as_of)
            and (q.memory_type is null or memory_type = q.memory_type)
            and created_at >= coalesce(q.created_after, '-infinity')
            and created_at < coalesce(q.created_before, 'infinity')
            and created_at <= q.as_of

-- fragment: embedding_then
-- Of a row of `versions`: its embedding, or that of the next version that has one, or of the memory.
coalesce(
            (
                select v.embedding
                from (
                    select agent_id, version, generation, embedding
                    from memory_versions
                    where memory_id = versions.memory_id and version >= versions.version
                    offset 0
                ) as v
                where v.agent_id = q.agent_id and v.generation = q.generation
                order by v.version
                limit 1
            ),
            (
                select m.embedding
                from memories m
                where m.agent_id = q.agent_id and m.id = versions.memory_id
            )
        )

-- name: search_as_of
-- A scope of any size. Of a memory that was changed since as_of, the candidate is the first version that was
-- replaced after as_of. Memories that were superseded since are candidates; their summaries are not. The
-- two parts of `memories` each have their own index.
--
-- The planner knows little of versions that are minutes old. Arrays make it hash the ids, and the offsets
-- make it use primary keys: a join might compare each memory with each version.
--
-- A version without an embedding of the model in use is ranked by that of the next version that has one, or
-- of the memory; without any, its cosine is 0.
select q.search, hits.*
from (
    select {{search_parameters}}, :include_superseded::boolean as include_superseded
    where :generation::smallint = {{generation_in_use}}
) as q, lateral (
    with versions as materialized (
        select distinct on (memory_id)
            memory_id, version, created_at, importance, memory_type, metadata, expires_at, terms
        from memory_versions
        where agent_id = q.agent_id and user_id = q.user_id and replaced_at > q.as_of
        order by memory_id, version
    ),
    candidates as materialized (
        select * from (
            select {{arms}}, null::int as version
            from memories
            where agent_id = q.agent_id and user_id = q.user_id and superseded_by is null
                and {{known_then}}
                and (q.metadata is null or metadata @@ q.metadata)
                and id not in (select unnest(array(select memory_id from versions)))
            union all
            select {{arms}}, null
            from memories
            where agent_id = q.agent_id and user_id = q.user_id and superseded_by is not null
                and (q.include_superseded or superseded_at > q.as_of)
                and {{known_then}}
                and (q.metadata is null or metadata @@ q.metadata)
                and id not in (select unnest(array(select memory_id from versions)))
            union all
            select memory_id, created_at, importance,
                coalesce(1 - (compared.embedding <=> q.embedding), 0),
                case when q.lexical_share > 0 then coalesce(-(terms <#> q.terms), 0) else 0 end,
                version
            from versions, lateral (
                select {{embedding_then}} as embedding
            ) as compared
            where {{known_then}}
                and (q.metadata is null or metadata @@ q.metadata)
        ) as known
        where id not in (select unnest(array(
            select superseded_by
            from memories
            where agent_id = q.agent_id and user_id = q.user_id and superseded_at > q.as_of
                and superseded_by is not null
        )))
    ),
    {{ranked}}
    select hits.id, q.agent_id, q.user_id, known.content, hits.importance, known.memory_type,
        known.metadata, hits.created_at, known.updated_at, known.expires_at, known.superseded_by,
        hits.score, hits.cosine, hits.lexical, hits.similarity, hits.recency, hits.age_days,
        hits.best > 0 as has_matches, hits.cosine_rank, hits.lexical_rank, known.embedding
    from hits, lateral (
        select m.content, m.memory_type, m.metadata, m.updated_at,
            case when m.superseded_at > q.as_of then null else m.expires_at end as expires_at,
            case when m.superseded_at > q.as_of then null else m.superseded_by end as superseded_by,
            case when q.with_embedding then vector_send(m.embedding) end as embedding
        from memories m
        where m.agent_id = q.agent_id and m.user_id = q.user_id and m.id = hits.id
            and hits.version is null
        union all
        select versions.content, versions.memory_type, versions.metadata, versions.written_at,
            versions.expires_at, null,
            -- Zeros are like nothing.
            case when q.with_embedding then vector_send(
                coalesce({{embedding_then}}, q.embedding - q.embedding)
            ) end
        from (
            select * from memory_versions
            where memory_id = hits.id and version = hits.version
            offset 0
        ) as versions
        where versions.agent_id = q.agent_id
    ) as known
) as hits
order by hits.score desc, hits.created_at desc, hits.id desc;
