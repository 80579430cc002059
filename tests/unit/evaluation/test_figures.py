import math

import pytest

from evaluation.figures import Figure, figures_of, mean_figures, percentiles, positions


def test_name_ranks_by_its_best_entry() -> None:
    assert positions(["b", "a", "b", "c", "a"]) == {"b": 1, "a": 2, "c": 3}
    assert positions([]) == {}


def test_figures_of_a_question_with_three_relevant_names() -> None:
    figures = figures_of([7, 2, None], (1, 5, 10))
    assert [figures[f"any@{k}"] for k in (1, 5, 10)] == [0, 1, 1]
    assert [figures[f"fraction@{k}"] for k in (1, 5, 10)] == pytest.approx([0, 1 / 3, 2 / 3])
    assert [figures[f"all@{k}"] for k in (1, 5, 10)] == [0, 0, 0]
    assert figures["MRR"] == 1 / 2
    # gains 1/log2(3) + 1/log2(8) of the best possible 1/log2(2) + 1/log2(3) + 1/log2(4)
    assert figures["NDCG@10"] == pytest.approx((0.630930 + 1 / 3) / (1 + 0.630930 + 0.5), abs=1e-6)


def test_all_relevant_first_is_perfect() -> None:
    assert set(figures_of([2, 1], (2,)).values()) == {1.0}


def test_nothing_found_is_zero() -> None:
    assert set(figures_of([None, None], (5,)).values()) == {0.0}


def test_ranks_beyond_ten_count_for_mrr_and_not_for_ndcg() -> None:
    figures = figures_of([11], (10, 20))
    assert (figures["NDCG@10"], figures["MRR"]) == (0, 1 / 11)
    assert (figures["all@10"], figures["all@20"]) == (0, 1)


def test_ndcg_can_be_perfect_with_more_than_ten_relevant() -> None:
    assert figures_of(list(range(1, 13)), (5,))["NDCG@10"] == pytest.approx(1)


def test_means_have_bootstrap_intervals() -> None:
    ones = [{"x": 1.0, "y": 1.0}] * 75 + [{"x": 0.0, "y": 1.0}] * 25
    figures = mean_figures(ones)
    assert figures["y"] == Figure(1.0, 1.0, 1.0)
    assert figures["x"].mean == 0.75
    error = 1.96 * math.sqrt(0.75 * 0.25 / 100)  # the normal approximation
    assert figures["x"].low == pytest.approx(0.75 - error, abs=0.012)
    assert figures["x"].high == pytest.approx(0.75 + error, abs=0.012)
    assert mean_figures(ones) == figures


def test_one_question_has_no_spread() -> None:
    assert mean_figures([{"x": 0.25}]) == {"x": Figure(0.25, 0.25, 0.25)}


def test_percentiles() -> None:
    assert percentiles([4, 1, 3, 2], (25, 50, 75)) == [1.75, 2.5, 3.25]
    assert percentiles([], (50,)) is None
