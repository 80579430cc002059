from pathlib import Path

import pytest

from loadtest import texts
from loadtest.scenarios import BATCH, Load, Scenario
from loadtest.wrk import command, parse

MIX = Scenario("mix", "mix", 4)


def result(*answers: int, **failed: int) -> dict[str, object]:
    none = {"connect": 0, "read": 0, "write": 0, "timeout": 0}
    return {"duration_us": 2_000_000, **none, **failed, "answers": list(answers)}


def test_answers_are_counted_by_status() -> None:
    measured = parse(result(200, 1_000, 201, 3_000, 503, 500, 422, 9_000, read=2), MIX)
    assert (measured.answered, measured.refused, measured.errors) == (2, 1, 3)
    assert measured.per_s == 1.0
    assert measured.times is not None
    assert measured.times.p50 == pytest.approx(2.0)
    assert measured.refused_times is not None
    assert measured.refused_times.p99 == pytest.approx(0.5)
    assert measured.statuses == {200: 1, 201: 1, 422: 1, 503: 1}


def test_missing_path_must_be_answered_with_404() -> None:
    measured = parse(result(404, 1_000, 200, 1_000), Scenario("nothing", "nothing", 1))
    assert (measured.answered, measured.errors) == (1, 1)


def test_timeouts_are_errors() -> None:
    measured = parse(result(timeout=4), MIX)
    assert (measured.answered, measured.errors, measured.per_s) == (0, 4, 0.0)
    assert measured.times is None


def test_command_has_a_thread_for_each_client_and_texts_of_its_own() -> None:
    line = [str(part) for part in command("http://x", MIX, 3, 5, Path("/r"))]
    assert line[line.index("--threads") + 1] == line[line.index("--connections") + 1] == "4"
    arguments = line[line.index("--") + 1 :]
    assert arguments[:2] == ["mix", str(3 * texts.ROW_TEXTS)]


def test_number_of_texts_that_a_request_embeds() -> None:
    loads: tuple[Load, ...] = ("nothing", "mix", "batches")
    assert [Scenario("", load, 1).texts_of_request for load in loads] == [0, 1, BATCH]
