"""The evaluation command against a fake service."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.evaluation.benchmark_files import locomo_sample, longmemeval_entry, turn, write
from tests.support.evaluation.command import BATCH, SEARCH, evaluate, result_of
from tests.support.evaluation.memex import FakeMemex, Proceed


async def test_command_measures_and_prints_figures(
    memex: FakeMemex, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await evaluate(memex, data, "--k", "1,5") == 0
    result = result_of(data)
    assert result["run"]["service_version"] == "9.9"
    assert result["counts"]["memories"] == 24
    overall = result["figures"]["overall"]["turns"]
    assert overall["questions"] == 5
    assert overall["any@1"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert result["top_score"]["abstention"] == {"questions": 1, "quartiles": [1.0, 1.0, 1.0]}
    assert result["top_score"]["answerable"]["quartiles"] == [2.0, 2.0, 2.0]
    first = result["questions"][0]
    assert (first["sessions"], first["turns"]) == ({"a": 1}, {"a:1": 1})
    table = capsys.readouterr().out
    assert "recall any@1" in table
    assert "100.0 [100.0, 100.0]" in table
    assert "1 abstention questions" in table
    assert memex.memories == {}


async def test_requests_have_the_apis_format(memex: FakeMemex, data: Path) -> None:
    assert await evaluate(memex, data, "--limit", "1") == 0
    first = memex.bodies(BATCH)[0]["memories"][0]
    place = {name: first[name] for name in ("agent_id", "user_id")}
    assert first == {
        **place,
        "content": "I baked bread today.",
        "created_at": "2023-05-01T10:00:00Z",
        "metadata": {"session": "n", "turn": "n:1", "role": "user"},
    }
    query = {
        "query": "Where does the parrot sleep?",
        "top_k": 50,
        "as_of": "2023-06-23T07:31:00Z",
        "alpha": 1.0,
    }
    assert memex.bodies(SEARCH) == [{**place, **query}]
    calls = [(request.method, request.path) for request in memex.requests]
    assert calls[1] == calls[-1] == ("DELETE", "/v1/memories")


async def test_search_options_are_sent(memex: FakeMemex, data: Path) -> None:
    options = ("--mode", "hybrid", "--alpha", "0.5", "--lexical-weight", "0.3", "--fusion", "ranks")
    assert await evaluate(memex, data, "--limit", "1", *options) == 0
    (body,) = memex.bodies(SEARCH)
    assert {name: body[name] for name in ("mode", "alpha", "lexical_weight", "fusion")} == {
        "mode": "hybrid",
        "alpha": 0.5,
        "lexical_weight": 0.3,
        "fusion": "ranks",
    }
    assert result_of(data)["run"]["search"]["fusion"] == "ranks"


async def test_batches_stay_within_the_limits(memex: FakeMemex, tmp_path: Path) -> None:
    turns = [turn("ü " * 10_000) for _ in range(90)]  # three memories each, of 12 kB
    sessions = (("a", "2023/05/01 (Mon) 10:00", turns),)
    data = write(tmp_path / "x.json", [longmemeval_entry(sessions=sessions)])
    assert await evaluate(memex, data) == 0
    batches = [request for request in memex.requests if request.path == BATCH]
    sizes = [len(batch.body["memories"]) for batch in batches]
    assert sum(sizes) == 270 == result_of(data)["counts"]["memories"]
    assert max(sizes) <= 256
    assert max(batch.size for batch in batches) <= 1024**2
    assert all(len(m["content"]) <= 8_000 for batch in batches for m in batch.body["memories"])
    assert result_of(data)["counts"]["split_turns"] == 90


async def test_result_does_not_depend_on_the_number_of_jobs(memex: FakeMemex, data: Path) -> None:
    async def slower_first(request: web.Request, body: Any, proceed: Proceed) -> web.StreamResponse:
        if request.path == SEARCH:
            await asyncio.sleep(0.05 if body["user_id"] < "q4" else 0)
        return await proceed()

    memex.intercept = slower_first
    results = []
    for jobs in ("1", "3", "8"):
        assert await evaluate(memex, data, "--jobs", jobs, "--fresh") == 0
        result = result_of(data)
        del result["latency_ms"]
        for question in result["questions"]:
            del question["latency_ms"]
        results.append(json.dumps(result))
    assert results[0] == results[1] == results[2]


async def test_other_options_start_another_journal(memex: FakeMemex, data: Path) -> None:
    assert await evaluate(memex, data) == 0
    assert await evaluate(memex, data, "--alpha", "0.5") == 0
    assert len(list(data.parent.glob("out-*.jsonl"))) == 2
    assert len(memex.bodies(SEARCH)) == 12
    assert await evaluate(memex, data, "--alpha", "0.5") == 0  # complete already
    assert len(memex.bodies(SEARCH)) == 12
    assert await evaluate(memex, data, "--alpha", "0.5", "--fresh") == 0
    assert len(memex.bodies(SEARCH)) == 18


async def test_locomo_skips_questions_without_evidence(
    memex: FakeMemex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "locomo10.json", [locomo_sample()])
    assert await evaluate(memex, data) == 0
    counts = result_of(data)["counts"]
    expected = {"questions": 5, "answerable": 2, "abstention": 1, "without_evidence": 2}
    assert {name: counts[name] for name in expected} == expected
    assert len(memex.bodies(SEARCH)) == 3
    assert {body["as_of"] for body in memex.bodies(SEARCH)} == {"2023-06-09T00:05:00Z"}
    assert len(memex.bodies(BATCH)) == 1  # all questions share one scope
    assert "2 questions name no usable evidence" in capsys.readouterr().out
