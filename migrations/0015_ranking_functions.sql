-- The ranking formula, in the parts that search statements are made of; deployments/domain/ranking.py has
-- the same in Python. Postgres inlines them: a search calls no function. A changed formula gets functions
-- of the next version, so that two versions of the service can run on one database.

-- date_part gives a float8; extract gives a numeric, whose exp is slow.
create function age_days_v1(created_at timestamptz, as_of timestamptz) returns float8
    language sql stable parallel safe
    return greatest(0, date_part('epoch', coalesce(as_of, now()) - created_at)) / 86400;

-- The bounds keep exp and the division from the errors that Postgres raises where others return 0. Below
-- them recency is 0 to four decimals.
create function recency_v1(age_days float8, half_life_days float8) returns float8
    language sql immutable parallel safe
    return exp(greatest(-700, -ln(2::float8) * age_days / greatest(1e-9, half_life_days)));

create function weighted_similarity_v1(
    cosine float8, bm25 float8, best_bm25 float8, lexical_share float8
) returns float8
    language sql immutable parallel safe
    return case
        when lexical_share = 0 or best_bm25 = 0 then cosine
        else (1 - lexical_share) * cosine + lexical_share * bm25 / best_bm25
    end;

create function score_v1(
    similarity float8, recency float8, importance float8, alpha float8, importance_weight float8
) returns float8
    language sql immutable parallel safe
    return round((
        alpha * similarity + (1 - alpha) * recency + importance_weight * importance / 2
    ) * 10000) / 10000;
