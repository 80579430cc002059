-- $1 agent_id
-- $2 user_id
-- $3 embedding
-- $4 generation
-- $5 top_k
-- $6 alpha
-- $7 half_life_days
-- $8 importance_weight
-- $9 memory_type
-- $10 metadata
-- $11 created_after
-- $12 created_before
-- $13 min_score
-- $14 as_of
-- $15 terms
-- $16 lexical_share
-- $17 by_rank
-- $18 min_cosine
-- $19 min_bm25
-- $20 with_embedding
-- $21 include_superseded
select q.search, hits.*
from (
    select 1 as search, $1::text as agent_id, $2::text as user_id, $3::vector as embedding,
        $4::smallint as generation, $5::int as top_k, $6::float8 as alpha,
        $7::float8 as half_life_days, $8::float8 as importance_weight,
        $9::text as memory_type, $10::jsonpath as metadata,
        $11::timestamptz as created_after,
        $12::timestamptz as created_before, $13::float8 as min_score,
        $14::timestamptz as as_of, $15::sparsevec as terms,
        $16::float8 as lexical_share, $17::boolean as by_rank,
        $18::float8 as min_cosine, $19::float8 as min_bm25,
        $20::boolean as with_embedding, $21::boolean as include_superseded
    where $4::smallint = (select generation from embedding_generations where state = 'active')
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
            select id, created_at, importance, 1 - (embedding <=> q.embedding) as cosine,
            case when q.lexical_share > 0 then coalesce(-(terms <#> q.terms), 0) else 0 end as bm25, null::int as version
            from memories
            where agent_id = q.agent_id and user_id = q.user_id and superseded_by is null
                and (expires_at is null or expires_at > q.as_of)
            and (q.memory_type is null or memory_type = q.memory_type)
            and created_at >= coalesce(q.created_after, '-infinity')
            and created_at < coalesce(q.created_before, 'infinity')
            and created_at <= q.as_of
                and (q.metadata is null or metadata @@ q.metadata)
                and id not in (select unnest(array(select memory_id from versions)))
            union all
            select id, created_at, importance, 1 - (embedding <=> q.embedding) as cosine,
            case when q.lexical_share > 0 then coalesce(-(terms <#> q.terms), 0) else 0 end as bm25, null
            from memories
            where agent_id = q.agent_id and user_id = q.user_id and superseded_by is not null
                and (q.include_superseded or superseded_at > q.as_of)
                and (expires_at is null or expires_at > q.as_of)
            and (q.memory_type is null or memory_type = q.memory_type)
            and created_at >= coalesce(q.created_after, '-infinity')
            and created_at < coalesce(q.created_before, 'infinity')
            and created_at <= q.as_of
                and (q.metadata is null or metadata @@ q.metadata)
                and id not in (select unnest(array(select memory_id from versions)))
            union all
            select memory_id, created_at, importance,
                coalesce(1 - (compared.embedding <=> q.embedding), 0),
                case when q.lexical_share > 0 then coalesce(-(terms <#> q.terms), 0) else 0 end,
                version
            from versions, lateral (
                select coalesce(
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
        ) as embedding
            ) as compared
            where (expires_at is null or expires_at > q.as_of)
            and (q.memory_type is null or memory_type = q.memory_type)
            and created_at >= coalesce(q.created_after, '-infinity')
            and created_at < coalesce(q.created_before, 'infinity')
            and created_at <= q.as_of
                and (q.metadata is null or metadata @@ q.metadata)
        ) as known
        where id not in (select unnest(array(
            select superseded_by
            from memories
            where agent_id = q.agent_id and user_id = q.user_id and superseded_at > q.as_of
                and superseded_by is not null
        )))
    ),
    best as materialized (
        select greatest(0, max(bm25)) as bm25 from candidates
    ),
    compared as (
        select *, case when q.lexical_share > 0 then (select bm25 from best) else 0 end as best
        from candidates
    ),
    fused as (
        select *,
            coalesce(bm25 / nullif(best, 0), 0) as lexical,
            case when q.by_rank then rank() over (order by cosine desc) end as cosine_rank,
            case when q.by_rank and bm25 > 0 then rank() over (order by bm25 desc) end
                as lexical_rank,
            age_days_v1(created_at, q.as_of) as age_days
        from compared
    ),
    parts as (
        select *,
            case
                when q.by_rank and q.lexical_share > 0 and best > 0 then 30.5::float8 * (
                    1 / (60 + cosine_rank)::float8 + coalesce(1 / (60 + lexical_rank)::float8, 0)
                )
                else weighted_similarity_v1(cosine, bm25, best, q.lexical_share)
            end as similarity,
            recency_v1(age_days, q.half_life_days) as recency
        from fused
    ),
    scored as (
        select *,
            score_v1(similarity, recency, importance, q.alpha, q.importance_weight) as score
        from parts
    ),
    hits as (
        select * from scored
        where (q.min_score is null or score >= q.min_score)
            and (q.min_cosine is null or cosine >= q.min_cosine or bm25 >= q.min_bm25)
        order by score desc, created_at desc, id desc
        limit q.top_k
    )
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
            case when q.with_embedding then vector_send(
                coalesce(coalesce(
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
        ), q.embedding - q.embedding)
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
