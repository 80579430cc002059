from dataclasses import replace

import pytest

from loadtest.locust_run import Load, Outcome, read_failures, read_routes, table

HEAD = (
    "Type,Name,Request Count,Failure Count,Median Response Time,Average Response Time,"
    "Min Response Time,Max Response Time,Average Content Size,Requests/s,Failures/s,"
    "50%,66%,75%,80%,90%,95%,98%,99%,99.9%,99.99%,100%"
)
TIMES = "12,14,16,19,22,29,50,73,98,98,98"
STATS = f"""{HEAD}
POST,/v1/memories,267,1,12,15,7,101,326,27.2,0.1,{TIMES}
POST,/v1/memories/search,669,0,12,15,8,98,2265,68.2,0.0,{TIMES}
,Aggregated,936,1,12,15,7,101,1711,95.4,0.1,{TIMES}
"""
NOTHING = f"{HEAD}\n,Aggregated,0,0,0,0.0,0,0,0,0.0,0.0,{','.join(['N/A'] * 11)}\n"
FAILURES = """Method,Name,Error,Occurrences
POST,/v1/memories,CatchResponseError('status 429'),1
POST,/v1/memories/search,"CatchResponseError('a, b')",20
"""


@pytest.fixture
def outcome() -> Outcome:
    load = Load("realistic", "RealisticUser", 20)
    return Outcome(load, read_routes(STATS), read_failures(FAILURES), 0)


def test_routes_are_read_with_their_total_last(outcome: Outcome) -> None:
    write, search, everything = outcome.routes
    assert (write.name, write.requests, write.failures) == ("POST /v1/memories", 267, 1)
    assert search.name == "POST /v1/memories/search"
    assert (everything.name, everything.per_s) == ("all", 95.4)
    assert (everything.p50, everything.p95, everything.p99) == (12, 29, 73)


def test_no_requests_give_no_routes() -> None:
    assert read_routes(NOTHING) == []
    assert read_routes("") == []


def test_most_frequent_failure_comes_first(outcome: Outcome) -> None:
    assert outcome.failures == [
        "20x POST /v1/memories/search: CatchResponseError('a, b')",
        "1x POST /v1/memories: CatchResponseError('status 429')",
    ]
    assert read_failures("") == []


def test_failure_or_bad_exit_code_makes_the_outcome_bad(outcome: Outcome) -> None:
    good = [replace(route, failures=0) for route in outcome.routes]
    assert not outcome.is_good
    assert replace(outcome, routes=good).is_good
    assert not replace(outcome, routes=good, exit_code=1).is_good


def test_table_has_a_line_for_each_route_and_failure(outcome: Outcome) -> None:
    heading, *lines = table([outcome])
    assert len(lines) == 5
    assert {len(line) for line in lines[:3]} == {len(heading)}
    assert lines[3].endswith("CatchResponseError('a, b')")
