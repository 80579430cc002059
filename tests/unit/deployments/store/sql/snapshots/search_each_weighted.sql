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
-- $17 min_cosine
-- $18 min_bm25
-- $19 with_embedding
select q.search, hits.*
from (
    select n.*, false as by_rank from unnest(
        $1::text[], $2::text[], $3::vector[], $4::smallint[],
        $5::int[], $6::float8[], $7::float8[], $8::float8[],
        $9::text[], $10::jsonpath[], $11::timestamptz[],
        $12::timestamptz[], $13::float8[], $14::timestamptz[],
        $15::sparsevec[], $16::float8[], $17::float8[], $18::float8[],
        $19::boolean[]
    ) with ordinality as n (
        agent_id, user_id, embedding, generation, top_k, alpha, half_life_days, importance_weight,
        memory_type, metadata, created_after, created_before, min_score, as_of, terms,
        lexical_share, min_cosine, min_bm25, with_embedding, search
    )
    where n.generation = (select generation from embedding_generations where state = 'active')
) as q, lateral (
    with candidates as materialized (
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
order by q.search, hits.score desc, hits.created_at desc, hits.id desc;
