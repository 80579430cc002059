-- Searches. `term_frequencies` reads the size of each scope and how rare the terms are; a search statement
-- then returns the hits.
--
-- A search statement has three parts: `q`, the search, with a column for each parameter; the candidates,
-- each with its two arms (cosine and bm25); and the ranking of the candidates. Statements differ in how
-- they find the candidates. The functions named …_v1 are the ranking formula (migration 15).

-- fragment: search_parameters
-- One search. If as_of is null, ages count up to now, by the database's clock. If lexical_share is 0,
-- similarity is the cosine.
1 as search, :agent_id::text as agent_id, :user_id::text as user_id, :embedding::vector as embedding,
        :generation::smallint as generation, :top_k::int as top_k, :alpha::float8 as alpha,
        :half_life_days::float8 as half_life_days, :importance_weight::float8 as importance_weight,
        :memory_type::text as memory_type, :metadata::jsonpath as metadata,
        :created_after::timestamptz as created_after,
        :created_before::timestamptz as created_before, :min_score::float8 as min_score,
        :as_of::timestamptz as as_of, :terms::sparsevec as terms,
        :lexical_share::float8 as lexical_share, :by_rank::boolean as by_rank,
        :min_cosine::float8 as min_cosine, :min_bm25::float8 as min_bm25,
        :with_embedding::boolean as with_embedding

-- fragment: searches_of_arrays
-- Several searches: an array for each parameter of search_parameters except by_rank. `search` numbers
-- them from 1.
unnest(
        :agent_id::text[], :user_id::text[], :embedding::vector[], :generation::smallint[],
        :top_k::int[], :alpha::float8[], :half_life_days::float8[], :importance_weight::float8[],
        :memory_type::text[], :metadata::jsonpath[], :created_after::timestamptz[],
        :created_before::timestamptz[], :min_score::float8[], :as_of::timestamptz[],
        :terms::sparsevec[], :lexical_share::float8[], :min_cosine::float8[], :min_bm25::float8[],
        :with_embedding::boolean[]
    ) with ordinality as n (
        agent_id, user_id, embedding, generation, top_k, alpha, half_life_days, importance_weight,
        memory_type, metadata, created_after, created_before, min_score, as_of, terms,
        lexical_share, min_cosine, min_bm25, with_embedding, search
    )

-- fragment: arms
-- The columns of a candidate. bm25 is 0 if the store has not indexed the memory's terms yet.
id, created_at, importance, 1 - (embedding <=> q.embedding) as cosine,
            case when q.lexical_share > 0 then coalesce(-(terms <#> q.terms), 0) else 0 end as bm25

-- fragment: in_type_and_time
-- The time bounds are written so that a generic plan can use the index of scopes.
(expires_at is null or expires_at > now())
            and (q.memory_type is null or memory_type = q.memory_type)
            and created_at >= coalesce(q.created_after, '-infinity')
            and created_at < coalesce(q.created_before, 'infinity')
            and created_at <= coalesce(q.as_of, 'infinity')

-- fragment: ranked
-- Ranks `candidates` into `hits`. A planner that knows q's values leaves out the window functions and all
-- of BM25 if they are unused. The best bm25 is in a separate select: in a join, a plan that expects few
-- candidates would compute it once for each of them.
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

-- fragment: memories_of_hits
select m.id, m.agent_id, m.user_id, m.content, m.importance, m.memory_type, m.metadata,
        m.created_at, m.updated_at, m.expires_at, m.superseded_by, hits.score, hits.cosine,
        hits.lexical, hits.similarity, hits.recency, hits.age_days, hits.best > 0 as has_matches,
        hits.cosine_rank, hits.lexical_rank,
        case when q.with_embedding then vector_send(m.embedding) end as embedding
    from hits
    join memories m on m.id = hits.id and m.agent_id = q.agent_id and m.user_id = q.user_id

-- fragment: scored
-- To join to candidates with the best bm25: their scores, without rank fusion.
lateral (select age_days_v1(created_at, q.as_of) as age_days) as aged,
            lateral (
                select weighted_similarity_v1(cosine, bm25, best, q.lexical_share) as similarity,
                    recency_v1(age_days, q.half_life_days) as recency
            ) as parts,
            lateral (
                select score_v1(similarity, recency, importance, q.alpha, q.importance_weight)
                    as score
            ) as total

-- name: search_each_weighted
-- Searches of small scopes, with weighted fusion: every visible memory is a candidate.
select q.search, hits.*
from (
    select n.*, false as by_rank from {{searches_of_arrays}}
    where n.generation = {{generation_in_use}}
) as q, lateral (
    with candidates as materialized (
        select {{arms}}
        from memories
        where agent_id = q.agent_id and user_id = q.user_id and superseded_by is null
            and {{in_type_and_time}}
            and (q.metadata is null or metadata @@ q.metadata)
    ),
    {{ranked}}
    {{memories_of_hits}}
) as hits
order by q.search, hits.score desc, hits.created_at desc, hits.id desc;

-- name: search_each_by_rank
-- As search_each_weighted, with rank fusion.
select q.search, hits.*
from (
    select n.*, true as by_rank from {{searches_of_arrays}}
    where n.generation = {{generation_in_use}}
) as q, lateral (
    with candidates as materialized (
        select {{arms}}
        from memories
        where agent_id = q.agent_id and user_id = q.user_id and superseded_by is null
            and {{in_type_and_time}}
            and (q.metadata is null or metadata @@ q.metadata)
    ),
    {{ranked}}
    {{memories_of_hits}}
) as hits
order by q.search, hits.score desc, hits.created_at desc, hits.id desc;

-- name: search_with_superseded
-- A scope of any size, superseded memories included. In two parts, because each has its own index.
select q.search, hits.*
from (
    select {{search_parameters}}
    where :generation::smallint = {{generation_in_use}}
) as q, lateral (
    with candidates as materialized (
        select {{arms}}
        from memories
        where agent_id = q.agent_id and user_id = q.user_id and superseded_by is null
            and {{in_type_and_time}}
            and (q.metadata is null or metadata @@ q.metadata)
        union all
        select {{arms}}
        from memories
        where agent_id = q.agent_id and user_id = q.user_id and superseded_by is not null
            and {{in_type_and_time}}
            and (q.metadata is null or metadata @@ q.metadata)
    ),
    {{ranked}}
    {{memories_of_hits}}
) as hits
order by hits.score desc, hits.created_at desc, hits.id desc;

-- name: plan_for_values
-- For the rest of the transaction, plans each statement for its values. In a large scope, the best index
-- depends on them.
set local plan_cache_mode = force_custom_plan;

-- name: search_whole
-- A large scope that is not completely in the vector index yet: every visible memory is a candidate.
select q.search, hits.*
from (
    select {{search_parameters}}
    where :generation::smallint = {{generation_in_use}}
) as q, lateral (
    with candidates as materialized (
        select {{arms}}
        from memories
        where agent_id = q.agent_id and user_id = q.user_id and superseded_by is null
            and {{in_type_and_time}}
            and (q.metadata is null or metadata @@ q.metadata)
    ),
    {{ranked}}
    {{memories_of_hits}}
) as hits
order by hits.score desc, hits.created_at desc, hits.id desc;

-- name: search_whole_of_few
-- A large scope of which a filter may leave few memories. If it leaves at most max_few, all of them are
-- candidates; otherwise there is no hit. There is always a row, with the number of memories that pass the
-- filter, counted up to max_few + 1.
select q.search, hits.*
from (
    select {{search_parameters}}, :max_few::int as max_few
    where :generation::smallint = {{generation_in_use}}
) as q, lateral (
    with visible as materialized (
        select {{arms}}
        from memories
        where agent_id = q.agent_id and user_id = q.user_id and superseded_by is null
            and {{in_type_and_time}}
            and (q.metadata is null or metadata @@ q.metadata)
        limit q.max_few + 1
    ),
    candidates as not materialized (
        select * from visible where (select count(*) from visible) <= q.max_few
    ),
    {{ranked}}
    select counted.candidates, found.*
    from (select count(*) as candidates from visible) as counted
    left join (
        {{memories_of_hits}}
    ) as found on true
) as hits
order by hits.score desc, hits.created_at desc, hits.id desc;

-- name: search_sketched
-- As search_whole_of_few, for a metadata filter that asks for one value of one key: `sketched`, an object of
-- both. The candidates are the
-- max_likely memories that score highest by their sketches, and up to max_lexical memories with a rare term
-- of the query (rare_keys). If n of d signs differ, a sketch estimates the cosine as cos(pi n / d)
-- (Charikar 2002). Sketches hold no terms.
select q.search, hits.*
from (
    select {{search_parameters}}, :sketched::jsonb as sketched, :max_few::int as max_few,
        :max_likely::int as max_likely, :rare_keys::bigint[] as rare_keys, :max_lexical::int as max_lexical
    where :generation::smallint = {{generation_in_use}}
) as q, lateral (
    with sketches as materialized (
        select memory_id, created_at,
            q.alpha * (1 - q.lexical_share) * cos(
                pi() * (signs::bit({dimensions}) <~> binary_quantize(q.embedding)) / {dimensions}
            )
            + (1 - q.alpha) * recency_v1(age_days_v1(created_at, q.as_of), q.half_life_days)
            + q.importance_weight * importance / 2 as score
        from memory_sketches
        where sketch_key = (
                select sketch_key(q.agent_id, q.user_id, key, value) from jsonb_each(q.sketched)
            )
            and {{in_type_and_time}}
        limit q.max_few + 1
    ),
    counted as materialized (
        select count(*) as candidates from sketches
    ),
    likely as materialized (
        select scored.*
        from (
            select memory_id
            from sketches
            where (select candidates from counted) <= q.max_few
            order by score desc, created_at desc, memory_id desc
            limit q.max_likely
        ) as best, lateral (
            select {{arms}}
            from memories
            where id = best.memory_id
                and agent_id = q.agent_id and user_id = q.user_id and superseded_by is null
                and {{in_type_and_time}}
                and (q.metadata is null or metadata @@ q.metadata)
            offset 0
        ) as scored
    ),
    -- The select around q.metadata hides its value from the planner. The planner takes a value that it has
    -- no statistics of for rare, and would read all memories that have it instead of combining two indexes.
    lexical_candidates as materialized (
        select {{arms}}
        from memories
        where q.lexical_share > 0 and term_keys && q.rare_keys
            and agent_id = q.agent_id and user_id = q.user_id and superseded_by is null
            and {{in_type_and_time}}
            and metadata @@ (select q.metadata)
            and (select candidates from counted) between q.max_likely + 1 and q.max_few
        order by terms <#> q.terms
        limit q.max_lexical
    ),
    candidates as materialized (
        select * from likely
        union select * from lexical_candidates
    ),
    {{ranked}}
    select counted.candidates, found.*
    from counted
    left join (
        {{memories_of_hits}}
    ) as found on true
) as hits
order by hits.score desc, hits.created_at desc, hits.id desc;

-- name: search_large
-- A large scope. The candidates are the max_nearest nearest memories, up to max_lexical memories with a
-- rare term of the query (rare_keys), and those of the newest that score at least as high as the last hit
-- of the other two.
--
-- Scan the newest back to the age beyond which none could outscore the last hit (the threshold algorithm
-- of Fagin, Lotem and Naor 2001). Any memory that is not found yet is at most as similar as the least
-- similar of the nearest, and has at most the best bm25 of the nearest that are no lexical candidates.
-- Because the index misses some of the nearest, scan twice as far back; because the second bound is a
-- guess, allow 1.5 times that bm25.
--
-- With rank fusion, or if words count and no found memory has a term of the query, the last hit is not
-- known beforehand. The max_newest newest memories are then all candidates.
select q.search, hits.*
from (
    select {{search_parameters}}, :max_nearest::int as max_nearest, :max_newest::int as max_newest,
        :rare_keys::bigint[] as rare_keys, :max_lexical::int as max_lexical
    where :generation::smallint = {{generation_in_use}}
) as q, lateral (
    with nearest as materialized (
        select {{arms}}
        from memories
        where agent_id = q.agent_id and user_id = q.user_id and superseded_by is null
            and {{in_type_and_time}}
            and (q.metadata is null or metadata @@ q.metadata)
            and indexed
        order by embedding::halfvec({dimensions}) <=> q.embedding::halfvec({dimensions})
        limit q.max_nearest
    ),
    lexical_candidates as materialized (
        select {{arms}}
        from memories
        where q.lexical_share > 0 and term_keys && q.rare_keys
            and agent_id = q.agent_id and user_id = q.user_id and superseded_by is null
            and {{in_type_and_time}}
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
        from found, best_found, {{scored}}
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
            select {{arms}}
            from memories
            where agent_id = q.agent_id and user_id = q.user_id and superseded_by is null
                and {{in_type_and_time}}
                and (q.metadata is null or metadata @@ q.metadata)
                and created_at >= coalesce((select created_at from since), '-infinity')
            order by created_at desc, id desc
            limit q.max_newest
        ) as scanned, best_found, {{scored}}
        where bm25 > best or coalesce(score >= (select score from last_hit), true)
    ),
    candidates as materialized (
        select * from found
        union select * from newest
    ),
    {{ranked}}
    {{memories_of_hits}}
) as hits
order by hits.score desc, hits.created_at desc, hits.id desc;

-- name: expected_rows
-- How many memories the planner expects to pass the filters.
explain (format json)
select from memories
where agent_id = :agent_id and user_id = :user_id and superseded_by is null
    and (:memory_type::text is null or memory_type = :memory_type)
    and (:metadata::jsonpath is null or metadata @@ :metadata)
    and created_at >= coalesce(:created_after::timestamptz, '-infinity')
    and created_at < coalesce(:created_before::timestamptz, 'infinity');

-- name: term_frequencies
-- The document frequency of each key that any memory has; then, numbered by the arrays, how many memories
-- each scope has in its span of time, counted up to exact_rows + 1. If the frequencies show more than
-- exact_rows memories in a scope without time bounds, no memory is counted. Smaller frequencies are not
-- used, because they do not include memories whose terms are not indexed yet.
select null::bigint as scope, term_key, sum(memories)::bigint as memories
from (
    select term_key, memories from document_frequencies
    union all
    select term_key, memories from document_frequency_changes
) as counted
where term_key = any(:keys::bigint[])
group by term_key
having sum(memories) > 0
union all
select s.place, null, case
    when s.created_after is null and s.created_before is null and :exact_rows::int < (
        select sum(memories)
        from (
            select term_key, memories from document_frequencies
            union all
            select term_key, memories from document_frequency_changes
        ) as of_scope
        where term_key = s.key
    ) then :exact_rows + 1
    else (
        select count(*)
        from (
            select from memories m
            where m.agent_id = s.agent_id and m.user_id = s.user_id and m.superseded_by is null
                and m.created_at >= coalesce(s.created_after, '-infinity')
                and m.created_at < coalesce(s.created_before, 'infinity')
            limit :exact_rows + 1
        ) as first_rows
    )
end
from unnest(
    :agent_ids::text[], :user_ids::text[], :scope_keys::bigint[], :created_after::timestamptz[],
    :created_before::timestamptz[]
) with ordinality as s (agent_id, user_id, key, created_after, created_before, place);
