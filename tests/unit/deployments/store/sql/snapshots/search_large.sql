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
-- $21 max_nearest
-- $22 max_newest
-- $23 rare_keys
-- $24 max_lexical
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
        $20::boolean as with_embedding, $21::int as max_nearest, $22::int as max_newest,
        $23::bigint[] as rare_keys, $24::int as max_lexical
    where $4::smallint = (select generation from embedding_generations where state = 'active')
) as q, lateral (
    with nearest as materialized (
        select id, created_at, importance, 1 - (embedding <=> q.embedding) as cosine,
            case when q.lexical_share > 0 then coalesce(-(terms <#> q.terms), 0) else 0 end as bm25
        from memories
        where agent_id = q.agent_id and user_id = q.user_id and superseded_by is null
            and (expires_at is null or expires_at > now())
            and (q.memory_type is null or memory_type = q.memory_type)
            and created_at >= coalesce(q.created_after, '-infinity')
            and created_at < coalesce(q.created_before, 'infinity')
            and created_at <= coalesce(q.as_of, 'infinity')
            and (q.metadata is null or metadata @@ q.metadata)
            and indexed
        order by embedding::halfvec({dimensions}) <=> q.embedding::halfvec({dimensions})
        limit q.max_nearest
    ),
    lexical_candidates as materialized (
        select id, created_at, importance, 1 - (embedding <=> q.embedding) as cosine,
            case when q.lexical_share > 0 then coalesce(-(terms <#> q.terms), 0) else 0 end as bm25
        from memories
        where q.lexical_share > 0 and term_keys && q.rare_keys
            and agent_id = q.agent_id and user_id = q.user_id and superseded_by is null
            and (expires_at is null or expires_at > now())
            and (q.memory_type is null or memory_type = q.memory_type)
            and created_at >= coalesce(q.created_after, '-infinity')
            and created_at < coalesce(q.created_before, 'infinity')
            and created_at <= coalesce(q.as_of, 'infinity')
            and (q.metadata is null or metadata @@ q.metadata)
        order by terms <#> q.terms
        limit q.max_lexical
    ),
    found as materialized (
        select * from nearest
        union select * from lexical_candidates
    ),
    best_found as materialized (
        select greatest(0, max(bm25)) as best from found
    ),
    last_hit as materialized (
        select score
        from found, best_found, lateral (select age_days_v1(created_at, q.as_of) as age_days) as aged,
            lateral (
                select weighted_similarity_v1(cosine, bm25, best, q.lexical_share) as similarity,
                    recency_v1(age_days, q.half_life_days) as recency
            ) as parts,
            lateral (
                select score_v1(similarity, recency, importance, q.alpha, q.importance_weight)
                    as score
            ) as total
        where not q.by_rank and (q.lexical_share = 0 or best > 0)
        order by score desc
        offset q.top_k - 1
        limit 1
    ),
    bounds_of_unfound as materialized (
        select min(cosine) as cosine, best, least(best, 1.5 * max(bm25) filter (
                where q.lexical_share > 0 and id not in (select id from lexical_candidates)
            )) as bm25
        from nearest, best_found
        group by best
    ),
    needed_recency as materialized (
        select (
                score - 0.00005
                - q.alpha * weighted_similarity_v1(cosine, bm25, best, q.lexical_share)
                - q.importance_weight
            ) / greatest(1e-9, 1 - q.alpha) as recency
        from last_hit, bounds_of_unfound
    ),
    since as materialized (
        select coalesce(q.as_of, now()) - 2 * age_days * interval '1 day' as created_at
        from needed_recency, lateral (
            select q.half_life_days * -ln(greatest(1e-300, least(1, recency))) / ln(2::float8)
                as age_days
        ) as aged
        where recency > 0 and age_days < 36500
    ),
    newest as (
        select id, created_at, importance, cosine, bm25
        from (
            select id, created_at, importance, 1 - (embedding <=> q.embedding) as cosine,
            case when q.lexical_share > 0 then coalesce(-(terms <#> q.terms), 0) else 0 end as bm25
            from memories
            where agent_id = q.agent_id and user_id = q.user_id and superseded_by is null
                and (expires_at is null or expires_at > now())
            and (q.memory_type is null or memory_type = q.memory_type)
            and created_at >= coalesce(q.created_after, '-infinity')
            and created_at < coalesce(q.created_before, 'infinity')
            and created_at <= coalesce(q.as_of, 'infinity')
                and (q.metadata is null or metadata @@ q.metadata)
                and created_at >= coalesce((select created_at from since), '-infinity')
            order by created_at desc, id desc
            limit q.max_newest
        ) as scanned, best_found, lateral (select age_days_v1(created_at, q.as_of) as age_days) as aged,
            lateral (
                select weighted_similarity_v1(cosine, bm25, best, q.lexical_share) as similarity,
                    recency_v1(age_days, q.half_life_days) as recency
            ) as parts,
            lateral (
                select score_v1(similarity, recency, importance, q.alpha, q.importance_weight)
                    as score
            ) as total
        where bm25 > best or coalesce(score >= (select score from last_hit), true)
    ),
    candidates as materialized (
        select * from found
        union select * from newest
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
    select m.id, m.agent_id, m.user_id, m.content, m.importance, m.memory_type, m.metadata,
        m.created_at, m.updated_at, m.expires_at, m.superseded_by, hits.score, hits.cosine,
        hits.lexical, hits.similarity, hits.recency, hits.age_days, hits.best > 0 as has_matches,
        hits.cosine_rank, hits.lexical_rank,
        case when q.with_embedding then vector_send(m.embedding) end as embedding
    from hits
    join memories m on m.id = hits.id and m.agent_id = q.agent_id and m.user_id = q.user_id
) as hits
order by hits.score desc, hits.created_at desc, hits.id desc;
