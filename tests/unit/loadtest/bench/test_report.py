import json

import pytest

from loadtest.bench.report import Results, Row, as_json, comparison, summary, table, typical
from loadtest.scenarios import SCENARIOS
from loadtest.wrk import Measured, Times


def row(
    system: str, name: str, answered: int, p50: float, refused: int = 0, alone: float = 1_000
) -> Row:
    scenario = next(entry for entry in SCENARIOS if entry.name == name)
    times = Times(p50, 2 * p50, 3 * p50)
    refusals = Times(1.0, 2.0, 3.0) if refused else None
    measured = Measured(10.0, answered, refused, 0, times if answered else None, refusals)
    cpu_s = {"embedder": 4.0, "generator": 0.5}
    return Row(system, scenario, measured, cpu_s, 512.0, [1, 2, 2], alone)


@pytest.fixture
def results() -> Results:
    return Results(
        10,
        [
            row("baseline x1", "distinct-64", 1_000, 50),
            row("baseline x2", "distinct-64", 2_000, 30),
            row("lean baseline x2", "distinct-64", 4_000, 10),
            row("memex default", "distinct-64", 5_000, 15),
            row("memex default", "overload-128", 4_000, 30, refused=7),
        ],
        3_000,
        [900, 1_000, 1_100],
        {"memex default": 900.0},
    )


def test_row_is_compared_with_the_best_baselines(results: Results) -> None:
    service = results.of("memex default", "distinct-64")
    assert service is not None
    assert comparison(results, service) == {
        "baselines": [
            {"system": "baseline x2", "times_per_s": 2.5, "times_p50": 0.5},
            {"system": "lean baseline x2", "times_per_s": 1.25, "times_p50": 1.5},
        ],
        "of_encoder": 0.5,
    }


def test_comparison_corrects_for_the_speed_of_the_machine() -> None:
    base = row("baseline x1", "distinct-64", 2_000, 30, alone=1_000)
    slow = row("memex default", "distinct-64", 2_000, 30, alone=500)
    compared = comparison(Results(10, [base, slow]), slow)
    assert compared["baselines"] == [{"system": base.system, "times_per_s": 2.0, "times_p50": 0.5}]
    assert compared["of_encoder"] == 0.4


def test_best_baseline_is_chosen_at_equal_speed_of_the_machine() -> None:
    quick = row("baseline x1", "distinct-64", 2_000, 30, alone=1_500)
    better = row("baseline x2", "distinct-64", 1_900, 30, alone=1_000)
    assert Results(10, [quick, better]).best("baseline", "distinct-64") is better


@pytest.mark.parametrize(
    ("answered", "shown"), [((7,), 7), ((900, 10, 500), 500), ((1, 4, 2, 3), 2)]
)
def test_median_turn_is_shown(answered: tuple[int, ...], shown: int) -> None:
    turns = [row("memex", "search-1", count, 1) for count in answered]
    assert typical(turns).measured.answered == shown


def test_cpu_is_reported_for_a_thousand_answers() -> None:
    assert row("memex", "search-1", 2_000, 1).cpu_per_1000["embedder"] == 2.0
    assert row("memex", "search-1", 0, 1).cpu_per_1000 == {}


def test_batches_count_their_texts() -> None:
    assert row("memex", "batch-4", 10, 1).texts_per_s == 256


def test_summary_lines(results: Results) -> None:
    lines = list(summary(results))
    assert lines[0] == (
        "the encoder alone on all cores: 1000 texts/s at the median of 3 measurements, 900 to 1100"
    )
    assert "memex default: 900 MiB when idle" in lines
    assert "memex default: distinct-64: 0.50 of the texts/s of the encoder alone" in lines
    assert (
        "memex default: distinct-64: 2.50 times the requests/s of baseline x2, "
        "0.50 times its p50" in lines
    )
    assert (
        "memex default: overload-128: the answered have 2.00 times the p99 of distinct-64" in lines
    )
    assert "memex default: overload-128: 7 refused with 503, p50 1.0 ms, p99 3.0 ms" in lines
    assert (
        "memex default: distinct-64: 1.25 times the requests/s of lean baseline x2, "
        "1.50 times its p50" in lines
    )
    assert lines[-1] == "the load generator used at most 5% of one core"


def test_table_has_a_line_of_equal_width_for_each_row(results: Results) -> None:
    _, heading, *lines = table([*results.rows, row("memex default", "batch-4", 0, 1)])
    assert len(lines) == 6
    assert {len(line) for line in lines} == {len(heading)}
    assert "1-2" in lines[0]


def test_nothing_measured_makes_an_empty_report() -> None:
    assert len(list(table([]))) == 2
    assert list(summary(Results(10))) == []


def test_report_is_valid_json(results: Results) -> None:
    report = json.loads(json.dumps(as_json(results)))
    assert report["rows"][3]["comparison"]["baselines"][0]["times_per_s"] == 2.5
    assert report["rows"][3]["scenario"]["name"] == "distinct-64"
