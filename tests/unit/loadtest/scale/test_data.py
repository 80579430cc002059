from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from deployments.domain.memories import MemoryType
from loadtest.scale.compare import Index, nodes
from loadtest.scale.data import BATCH, DIMENSIONS, Plan, World, pseudo_words, unit
from loadtest.scale.figures import Latency, recall, relevant
from loadtest.scale.measure import FILTERS, Case, Measured, cases
from loadtest.scale.report import misses

UNTIL = datetime(2026, 11, 1, tzinfo=UTC)
PLAN = Plan(rows=6_000, medium_rows=500, small_agents=40, small_rows=20, seed=3, until=UNTIL)


@pytest.fixture(scope="module")
def world() -> World:
    return World(PLAN)


def test_same_plan_gives_the_same_rows(world: World) -> None:
    first, again = world.batch(1), World(PLAN).batch(1)
    assert first.ids == again.ids
    assert first.contents == again.contents
    assert np.array_equal(first.vectors, again.vectors)


def test_every_scope_has_its_rows(world: World) -> None:
    batches = [world.batch(number) for number in range(PLAN.batches)]
    owners, counts = np.unique(np.concatenate([b.owners for b in batches]), return_counts=True)
    assert list(owners) == list(range(42))
    assert list(counts) == [6_000, 500, *[20] * 40]
    assert [len(batch.ids) for batch in batches] == [BATCH, PLAN.total - BATCH]
    assert len({memory_id for batch in batches for memory_id in batch.ids}) == PLAN.total


def test_rows_are_in_order_of_time(world: World) -> None:
    times = [at for number in range(PLAN.batches) for at in world.batch(number).created_at]
    assert times == sorted(times)
    assert UNTIL - timedelta(days=731) < times[0] < UNTIL - timedelta(days=729)
    assert UNTIL - timedelta(days=1) < times[-1] <= UNTIL


def test_vectors_are_unit_vectors_around_centres(world: World) -> None:
    batch = world.batch(0)
    assert batch.vectors.shape == (BATCH, DIMENSIONS)
    assert batch.vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(batch.vectors, axis=1), 1, atol=1e-5)
    cosines = batch.vectors @ batch.vectors.T
    alike = batch.clusters[:, None] == batch.clusters
    np.fill_diagonal(alike, False)
    assert cosines[alike].mean() > 0.4
    assert abs(cosines[~alike].mean()) < 0.05


def test_questions_belong_to_their_scope_and_are_near_its_memories(world: World) -> None:
    agents = {
        scope: {q.agent_id for q in world.questions(scope, 30)} for scope in ("large", "small")
    }
    assert agents["large"] == {"large"}
    assert len(agents["small"]) > 10
    assert all(agent.startswith("small-") for agent in agents["small"])
    batches = [world.batch(number) for number in range(PLAN.batches)]
    for question in world.questions("medium", 5):
        nearest = max(float((batch.vectors @ question.vector).max()) for batch in batches)
        assert nearest > 0.7
        assert question.text


def test_fewer_questions_are_the_first_of_more(world: World) -> None:
    fewer, first = world.questions("large", 25), world.questions("large", 60)[:25]
    assert [question.text for question in fewer] == [question.text for question in first]
    for one, other in zip(fewer, first, strict=True):
        np.testing.assert_array_equal(one.vector, other.vector)


def test_metadata_has_the_intended_selectivity(world: World) -> None:
    metadata = world.batch(0).metadata
    of_one = sum(entry["project"] == "p7" for entry in metadata)
    assert 20 < of_one < 100
    assert sum("rare" in entry for entry in metadata) < 5


def test_vectors_of_any_length_become_unit_vectors() -> None:
    vectors = np.array([[3, 4], [0, 2]], dtype=np.float32)
    assert np.allclose(unit(vectors), np.array([[0.6, 0.8], [0.0, 1.0]]))


def test_pseudo_words_differ() -> None:
    words = pseudo_words(np.random.default_rng(1), 2_000)
    assert len(set(words)) == 2_000
    assert all(word.isalpha() for word in words)


def test_latency_percentiles() -> None:
    latency = Latency.of([float(n) for n in range(101)])
    assert latency == Latency(101, 50.0, 95.0, 99.0, 100.0)


def test_recall_is_the_share_of_the_best_that_were_found() -> None:
    best = [("a", 0.9), ("b", 0.8), ("c", 0.7), ("d", 0.6)]
    assert recall(["a", "b"], best, 2) == 1.0
    assert recall(["a", "d"], best, 2) == 0.5
    assert recall(["a"], best[:1], 2) == 1.0
    assert recall([], best, 2) == 0.0
    assert recall(["a"], [], 2) is None


def test_ties_with_the_last_are_relevant() -> None:
    best = [("a", 0.9), ("b", 0.8), ("c", 0.8), ("d", 0.6)]
    assert relevant(best, 2) == {"a", "b", "c"}
    assert recall(["a", "c"], best, 2) == 1.0
    assert recall(["b", "c"], best, 2) == 1.0


def test_scopes_without_rows_have_no_cases() -> None:
    plan = Plan(10, 0, 3, 2, 1, UNTIL)
    found = cases(plan, ["none", "1 day"], ["hybrid"])
    assert {case.scope for case in found} == {"large", "small"}
    assert len(found) == 4


@pytest.mark.parametrize("name", FILTERS)
def test_each_filter_sets_one_condition(world: World, name: str) -> None:
    question = world.questions("large", 1)[0]
    filters = Case("large", "hybrid", name).query(question, PLAN).filters
    conditions = [filters.metadata, filters.memory_type, filters.created_after]
    assert sum(value is not None for value in conditions) == (name != "none")
    assert filters.memory_type in (None, MemoryType.PROCEDURAL)


def test_missed_goals_are_reported() -> None:
    slow, quick = Latency(5, 1, 2, 61, 70), Latency(5, 1, 2, 9, 9)
    large, small = (Case(scope, "hybrid", "none") for scope in ("large", "small"))
    assert misses(Measured(large, slow, 60, 0.9, 0.5, 5, 1)) == ["p99", "recall", "too few"]
    assert misses(Measured(small, quick, 9, None, None, 0, 0)) == []


def test_plan_nodes_are_listed() -> None:
    lines = [
        "Limit",
        "  ->  Sort",
        "        Sort Key: ((embedding <=> $3))",
        "        ->  Index Scan using memories_scope on memories",
        "              Index Cond: (agent_id = 'Scan')",
    ]
    assert nodes(lines) == "Sort < Index Scan using memories_scope on memories"


def test_index_definition_follows_its_options() -> None:
    half = Index.parse("halfvec:m=24:ef_construction=128")
    assert half.definition("i", "memories") == (
        "create index i on memories using hnsw ((embedding::halfvec(384)) halfvec_cosine_ops) "
        "with (m=24, ef_construction=128)"
    )
    assert "order by embedding::halfvec(384) <=> $3::halfvec(384)" in half.statement("memories")
    full = Index.parse("vector")
    assert full.definition("i", "t") == (
        "create index i on t using hnsw ((embedding) vector_cosine_ops)"
    )
    assert "order by embedding <=> $3 " in full.statement("t")


def test_product_index_query_has_the_indexed_condition() -> None:
    product = Index.parse("product")
    assert not product.is_built
    assert "and indexed order by embedding::halfvec(384)" in product.statement("memories")
    assert "indexed" not in Index.parse("halfvec").statement("memories")


@pytest.mark.parametrize(
    "text", ["", "bit", "product:m=24", ":m=24", "halfvec:", "halfvec:m", "vector:lists=9"]
)
def test_invalid_index_options_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Index.parse(text)
