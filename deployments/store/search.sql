-- What searches ask: first how large the scope is and how rare the words are, then the hits.

-- fragment: matching
-- What the search q may see, and what was condensed. Bounds of time are written so that an index of
-- scopes serves them in a plan that does not know whether there are any.
agent_id = q.agent_id and user_id = q.user_id and {{of_type_and_time}}
            and (q.metadata is null or metadata @> q.metadata)

-- fragment: of_type_and_time
{{alive}}
            and (q.memory_type is null or memory_type = q.memory_type)
            and created_at > coalesce(q.created_after, '-infinity')
            and created_at < coalesce(q.created_before, 'infinity')
            and created_at <= coalesce(q.as_of, 'infinity')

-- fragment: visible
{{matching}} and superseded_by is null

-- fragment: visible_by_metadata
-- The same where there is a filter of metadata, of which the planner is not told: it knows few values,
-- and takes any other for rare. Then it would read all that have it, rather than look it up in two
-- indexes and read what is in both.
agent_id = q.agent_id and user_id = q.user_id and {{of_type_and_time}}
            and metadata @> (select q.metadata) and superseded_by is null

-- fragment: arms
-- A memory's score in either arm. The words of a memory that the store has not come to yet are not
-- known.
id, created_at, importance, 1 - (embedding <=> q.embedding) as cosine,
            case when q.lexical_share > 0 then coalesce(-(terms <#> q.terms), 0) else 0 end as bm25

-- fragment: age_days
-- Ages are counted with date_part, a float8: extract gives numeric, whose exp is slow.
greatest(0, date_part('epoch', coalesce(q.as_of, now()) - created_at)) / 86400

-- fragment: recency
-- Of age_days. The bounds within exp keep it from the errors that Postgres raises where others give 0;
-- below them it is 0 to four decimals, too.
exp(greatest(-700, -ln(2::float8) * age_days / greatest(1e-9, q.half_life_days)))

-- fragment: weighted_similarity
-- Similarity, unless ranks are fused: of cosine, bm25 and the best bm25.
case
                when q.lexical_share = 0 or best = 0 then cosine
                else (1 - q.lexical_share) * cosine + q.lexical_share * bm25 / best
            end

-- fragment: score
-- Of similarity, recency and importance.
round((
            q.alpha * similarity + (1 - q.alpha) * recency + q.importance_weight * importance / 2
        ) * 10000) / 10000

-- fragment: ranked
-- Candidates to hits, by the formula of domain/ranking.py. Where the planner knows q's values it leaves
-- out the window functions, and all of BM25, that are unused. The best BM25 stands in a select of its
-- own: in a join, a plan that expects few candidates would look for it once for each.
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
            case when q.by_rank and bm25 > 0 then rank() over (order by bm25 desc) end as lexical_rank,
            {{age_days}} as age_days
        from compared
    ),
    parts as (
        select *,
            case
                when q.by_rank and q.lexical_share > 0 and best > 0 then
                    30.5::float8 * (1 / (60 + cosine_rank)::float8 + coalesce(1 / (60 + lexical_rank)::float8, 0))
                else {{weighted_similarity}}
            end as similarity,
            {{recency}} as recency
        from fused
    ),
    scored as (
        select *, {{score}} as score
        from parts
    ),
    hits as (
        select * from scored
        where q.min_score is null or score >= q.min_score
        order by score desc, created_at desc, id desc
        limit q.top_k
    )

-- fragment: found
select m.id, m.agent_id, m.user_id, m.content, m.importance, m.memory_type, m.metadata,
        m.created_at, m.updated_at, m.expires_at, m.superseded_by, hits.score, hits.cosine, hits.lexical, hits.similarity,
        hits.recency, hits.age_days, hits.best > 0 as has_matches, hits.cosine_rank, hits.lexical_rank
    from hits
    join memories m on m.id = hits.id and m.agent_id = q.agent_id and m.user_id = q.user_id

-- fragment: whole
-- Every visible memory is a candidate.
with candidates as materialized (
        select {{arms}}
        from memories
        where {{visible}}
    ),
    {{ranked}}
    {{found}}

-- fragment: whole_of_few
-- The same where there are no more than q.few: else no hit. A row in any case, with how many there are,
-- counted to one more than q.few.
with visible as materialized (
        select {{arms}}
        from memories
        where {{visible}}
        limit q.few + 1
    ),
    candidates as not materialized (
        select * from visible where (select count(*) from visible) <= q.few
    ),
    {{ranked}}
    select counted.candidates, found.*
    from (select count(*) as candidates from visible) as counted
    left join (
        {{found}}
    ) as found on true

-- fragment: whole_with_superseded
-- The same with what was condensed. In two parts, since each has its index.
with candidates as materialized (
        select {{arms}}
        from memories
        where {{visible}}
        union all
        select {{arms}}
        from memories
        where {{matching}} and superseded_by is not null
    ),
    {{ranked}}
    {{found}}

-- fragment: with_score
-- To be joined to what has arms and the best bm25: the score, unless ranks are fused.
lateral (select {{age_days}} as age_days) as aged,
            lateral (select {{weighted_similarity}} as similarity, {{recency}} as recency) as halves,
            lateral (select {{score}} as score) as sums

-- fragment: sketched
-- As `whole_of_few`, where the filter of metadata is a key with a single value. The candidates are those
-- that score highest by their sketches, and those with a rare term of the query. By its sketch, a
-- memory's cosine is estimated from how many signs differ, n of d (cos(pi n / d): Charikar 2002); of
-- words nothing is known.
with sketches as materialized (
        select memory_id, created_at,
            q.alpha * (1 - q.lexical_share)
                * cos(pi() * (signs::bit(:dimensions) <~> binary_quantize(q.embedding)) / :dimensions)
                + (1 - q.alpha) * {{recency}}
                + q.importance_weight * importance / 2 as score
        from (select *, {{age_days}} as age_days from memory_sketches) as all_sketches
        where sketch_key = (
                select sketch_key(q.agent_id, q.user_id, key, value) from jsonb_each(q.metadata)
            )
            and {{of_type_and_time}}
        limit q.few + 1
    ),
    counted as materialized (
        select count(*) as candidates from sketches
    ),
    likely as materialized (
        select scored.*
        from (
            select memory_id
            from sketches
            where (select candidates from counted) <= q.few
            order by score desc, created_at desc, memory_id desc
            limit q.likely
        ) as best, lateral (
            select {{arms}}
            from memories
            where id = best.memory_id and {{visible}}
            offset 0
        ) as scored
    ),
    wordy as materialized (
        select {{arms}}
        from memories
        where q.lexical_share > 0 and term_keys && q.rarest and {{visible_by_metadata}}
            and (select candidates from counted) between q.likely + 1 and q.few
        order by terms <#> q.terms
        limit q.wordy
    ),
    candidates as materialized (
        select * from likely
        union select * from wordy
    ),
    {{ranked}}
    select counted.candidates, found.*
    from counted
    left join (
        {{found}}
    ) as found on true

-- fragment: large
-- The candidates are the nearest, those with a rare term of the query, and of the newest those that
-- score as high as the last hit of these two. How far back the newest are looked through for them is
-- told by what any other memory has at most (the threshold of Fagin, Lotem and Naor 2001): it is less
-- like the query than the nearest, and has less of its words than those among them without a rare term
-- have. Since the index misses some of the nearest, and the second is a guess, the newest are looked
-- through twice as far as that, and half as many words again are allowed for.
-- Where ranks are fused, and where nothing that was found has a word, the last hit is not known
-- beforehand: then all the newest are candidates.
with nearest as materialized (
        select {{arms}}
        from memories
        where {{visible}} and indexed
        order by embedding::halfvec(:dimensions) <=> q.embedding::halfvec(:dimensions)
        limit q.nearest
    ),
    wordy as materialized (
        select {{arms}}
        from memories
        where q.lexical_share > 0 and term_keys && q.rarest and {{visible}}
        order by terms <#> q.terms
        limit q.wordy
    ),
    found as materialized (
        select * from nearest
        union select * from wordy
    ),
    best_found as materialized (
        select greatest(0, max(bm25)) as best from found
    ),
    last_hit as materialized (
        select score
        from found, best_found, {{with_score}}
        where not q.by_rank and (q.lexical_share = 0 or best > 0)
        order by score desc
        offset q.top_k - 1
        limit 1
    ),
    others as materialized (
        select min(cosine) as cosine, best, least(best, 1.5 * max(bm25) filter (
                where q.lexical_share > 0 and id not in (select id from wordy)
            )) as bm25
        from nearest, best_found
        group by best
    ),
    needed as materialized (
        select (score - 0.00005 - q.alpha * {{weighted_similarity}} - q.importance_weight)
                / greatest(1e-9, 1 - q.alpha) as recency
        from last_hit, others
    ),
    since as materialized (
        select coalesce(q.as_of, now()) - 2 * age_days * interval '1 day' as created_at
        from needed, lateral (
            select q.half_life_days * -ln(greatest(1e-300, least(1, recency))) / ln(2::float8) as age_days
        ) as aged
        where recency > 0 and age_days < 36500
    ),
    newest as (
        select id, created_at, importance, cosine, bm25
        from (
            select {{arms}}
            from memories
            where {{visible}} and created_at >= coalesce((select created_at from since), '-infinity')
            order by created_at desc, id desc
            limit q.newest
        ) as looked_at, best_found, {{with_score}}
        where bm25 > best or coalesce(score >= (select score from last_hit), true)
    ),
    candidates as materialized (
        select * from found
        union select * from newest
    ),
    {{ranked}}
    {{found}}

-- fragment: many
-- $1 agent_ids, $2 user_ids, $3 embeddings, $4 generations, $5 top_ks, $6 alphas, $7 half_lives_days,
-- $8 importance_weights, $9 memory_types, $10 metadata, $11 created_after, $12 created_before, $13
-- min_scores, $14 as_of (null: now, by the database's clock), $15 query terms, $16 lexical shares (0:
-- cosine alone). Numbered from 1 as `search`.
unnest(
        $1::text[], $2::text[], $3::vector[], $4::smallint[], $5::int[], $6::float8[], $7::float8[],
        $8::float8[], $9::text[], $10::jsonb[], $11::timestamptz[], $12::timestamptz[],
        $13::float8[], $14::timestamptz[], $15::sparsevec[], $16::float8[]
    ) with ordinality as n (
        agent_id, user_id, embedding, generation, top_k, alpha, half_life_days, importance_weight,
        memory_type, metadata, created_after, created_before, min_score, as_of, terms,
        lexical_share, search
    )

-- name: search_each_weighted
select q.search, hits.*
from (
    select n.*, false as by_rank from {{many}}
    where n.generation = {{generation_in_use}}
) as q, lateral (
    {{whole}}
) as hits
order by q.search, hits.score desc, hits.created_at desc, hits.id desc;

-- name: search_each_by_rank
select q.search, hits.*
from (
    select n.*, true as by_rank from {{many}}
    where n.generation = {{generation_in_use}}
) as q, lateral (
    {{whole}}
) as hits
order by q.search, hits.score desc, hits.created_at desc, hits.id desc;

-- name: plan_for_values
-- In a transaction: its statements are planned with their values. Whether an index serves a large
-- scope depends on them.
set local plan_cache_mode = force_custom_plan;

-- fragment: one
-- One search: $1 … $16 as in `many`, a value each, $17 whether to fuse by rank
select 1 as search, $1::text as agent_id, $2::text as user_id, $3::vector as embedding,
        $4::smallint as generation, $5::int as top_k, $6::float8 as alpha,
        $7::float8 as half_life_days, $8::float8 as importance_weight, $9::text as memory_type,
        $10::jsonb as metadata, $11::timestamptz as created_after,
        $12::timestamptz as created_before, $13::float8 as min_score, $14::timestamptz as as_of,
        $15::sparsevec as terms, $16::float8 as lexical_share, $17::boolean as by_rank

-- name: search_whole
-- Of a large scope of which the index has not all.
select q.search, hits.*
from (
    {{one}}
    where $4::smallint = {{generation_in_use}}
) as q, lateral (
    {{whole}}
) as hits
order by hits.score desc, hits.created_at desc, hits.id desc;

-- name: search_whole_of_few
-- Of a large scope, where a filter may leave few. $18 how many those are at most.
select q.search, hits.*
from (
    {{one}}, $18::int as few
    where $4::smallint = {{generation_in_use}}
) as q, lateral (
    {{whole_of_few}}
) as hits
order by hits.score desc, hits.created_at desc, hits.id desc;

-- name: search_sketched
-- The same by their sketches. $19 how many of the likely, $20 keys of the query's rarest terms, $21 how
-- many that have one. :dimensions is the embedding's.
select q.search, hits.*
from (
    {{one}}, $18::int as few, $19::int as likely, $20::bigint[] as rarest, $21::int as wordy
    where $4::smallint = {{generation_in_use}}
) as q, lateral (
    {{sketched}}
) as hits
order by hits.score desc, hits.created_at desc, hits.id desc;

-- name: search_with_superseded
-- Of a scope of any size.
select q.search, hits.*
from (
    {{one}}
) as q, lateral (
    {{whole_with_superseded}}
) as hits
order by hits.score desc, hits.created_at desc, hits.id desc;

-- name: search_large
-- $18 how many of the nearest, $19 of the newest, $20 keys of the query's rarest terms, $21 how many
-- that have one. :dimensions is the embedding's, which the index's expression has in it.
select q.search, hits.*
from (
    {{one}}, $18::int as nearest, $19::int as newest, $20::bigint[] as rarest, $21::int as wordy
    where $4::smallint = {{generation_in_use}}
) as q, lateral (
    {{large}}
) as hits
order by hits.score desc, hits.created_at desc, hits.id desc;

-- fragment: left_by_filters
-- $1 agent_id, $2 user_id, $3 memory_type, $4 metadata, $5 created_after, $6 created_before
agent_id = $1 and user_id = $2 and superseded_by is null
        and ($3::text is null or memory_type = $3)
        and ($4::jsonb is null or metadata @> $4)
        and created_at > coalesce($5::timestamptz, '-infinity')
        and created_at < coalesce($6::timestamptz, 'infinity')

-- name: expected_rows
-- Parameters as in `left_by_filters`: how many the planner thinks there are.
explain (format json)
select from memories
where {{left_by_filters}};

-- fragment: all_frequencies
select term_key, memories from document_frequencies
    union all
    select term_key, memories from document_frequency_changes

-- name: term_frequencies
-- $1 keys; $2 agent_ids, $3 user_ids, $4 keys, $5 created_after, $6 created_before of scopes and of
-- times in them, $7 rows. How many memories have each key, of those that any has; then, under the
-- scope's place in the arrays, how many rows it has in that time, counted to one more than $7. Only
-- where the frequencies tell that there are more are they believed: they know nothing of memories
-- whose words are still to come.
select null::bigint as scope, term_key, sum(memories)::bigint as memories
from (
    {{all_frequencies}}
) as counted
where term_key = any($1::bigint[])
group by term_key
having sum(memories) > 0
union all
select s.place, null, case
    when s.created_after is null and s.created_before is null and $7::int < (
        select sum(memories)
        from (
            {{all_frequencies}}
        ) as of_scope
        where term_key = s.key
    ) then $7 + 1
    else (
        select count(*)
        from (
            select from memories m
            where m.agent_id = s.agent_id and m.user_id = s.user_id and m.superseded_by is null
                and m.created_at > coalesce(s.created_after, '-infinity')
                and m.created_at < coalesce(s.created_before, 'infinity')
            limit $7 + 1
        ) as first_rows
    )
end
from unnest($2::text[], $3::text[], $4::bigint[], $5::timestamptz[], $6::timestamptz[])
    with ordinality as s (agent_id, user_id, key, created_after, created_before, place);
