"""The whole tool, against a service that is a fake of a few lines."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from evaluation.cli import main
from tests.support.benchmark_files import locomo_sample, longmemeval_entry, turn, write
from tests.support.fakes.memex import FakeMemex, Step

BATCH, SEARCH = "/v1/memories/batch", "/v1/memories/search"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    entries = [longmemeval_entry(f"q{number}") for number in range(1, 6)]
    entries.append(longmemeval_entry("q6_abs", "Where is the yacht?"))
    return write(tmp_path / "bench.json", entries)


async def _evaluate(memex: FakeMemex, data: Path, *more: str) -> int:
    arguments = [str(data), "--url", memex.url, "--out", str(data.parent / "out.json"), *more]
    return await asyncio.to_thread(main, arguments)


def _result(data: Path) -> Any:
    return json.loads((data.parent / "out.json").read_text())


def _problem(status: int, detail: str, **headers: str) -> web.Response:
    body = json.dumps({"status": status, "detail": detail})
    return web.Response(
        status=status, text=body, headers=headers, content_type="application/problem+json"
    )


async def test_measures(memex: FakeMemex, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await _evaluate(memex, data, "--k", "1,5") == 0
    result = _result(data)
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


async def test_stores_and_asks_as_the_api_wants_it(memex: FakeMemex, data: Path) -> None:
    assert await _evaluate(memex, data, "--limit", "1") == 0
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
    calls = [(seen.method, seen.path) for seen in memex.seen]
    assert calls[1] == calls[-1] == ("DELETE", "/v1/memories")


async def test_sends_the_settings_that_are_given(memex: FakeMemex, data: Path) -> None:
    given = ("--mode", "hybrid", "--alpha", "0.5", "--lexical-weight", "0.3", "--fusion", "ranks")
    assert await _evaluate(memex, data, "--limit", "1", *given) == 0
    (body,) = memex.bodies(SEARCH)
    assert {name: body[name] for name in ("mode", "alpha", "lexical_weight", "fusion")} == {
        "mode": "hybrid",
        "alpha": 0.5,
        "lexical_weight": 0.3,
        "fusion": "ranks",
    }
    assert _result(data)["run"]["search"]["fusion"] == "ranks"


async def test_batches_keep_within_the_limits(memex: FakeMemex, tmp_path: Path) -> None:
    turns = [turn("ü " * 10_000) for _ in range(90)]  # three memories each, of 12 kB
    sessions = (("a", "2023/05/01 (Mon) 10:00", turns),)
    data = write(tmp_path / "x.json", [longmemeval_entry(sessions=sessions)])
    assert await _evaluate(memex, data) == 0
    batches = [seen for seen in memex.seen if seen.path == BATCH]
    sizes = [len(seen.body["memories"]) for seen in batches]
    assert sum(sizes) == 270 == _result(data)["counts"]["memories"]
    assert max(sizes) <= 256
    assert max(seen.size for seen in batches) <= 1024**2
    assert all(len(m["content"]) <= 8_000 for seen in batches for m in seen.body["memories"])
    assert _result(data)["counts"]["split_turns"] == 90


async def test_the_same_whatever_the_number_of_jobs(memex: FakeMemex, data: Path) -> None:
    async def slower_first(request: web.Request, body: Any, step: Step) -> web.StreamResponse:
        if request.path == SEARCH:
            await asyncio.sleep(0.05 if body["user_id"] < "q4" else 0)
        return await step()

    memex.interfere = slower_first
    results = []
    for jobs in ("1", "3", "8"):
        assert await _evaluate(memex, data, "--jobs", jobs, "--fresh") == 0
        result = _result(data)
        del result["latency_ms"]
        for question in result["questions"]:
            del question["latency_ms"]
        results.append(json.dumps(result))
    assert results[0] == results[1] == results[2]


async def test_goes_on_after_a_failure(
    memex: FakeMemex, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail_q3(request: web.Request, body: Any, step: Step) -> web.StreamResponse:
        if request.path == SEARCH and body["user_id"] == "q3":
            return _problem(500, "an internal error; it has been logged")
        return await step()

    memex.interfere = fail_q3
    assert await _evaluate(memex, data, "--jobs", "1") == 1
    said = capsys.readouterr().err
    assert "500 an internal error; it has been logged; the same command goes on (2 of 6" in said
    assert "Traceback" not in said
    assert memex.memories == {}  # what was under way is removed
    assert not (data.parent / "out.json").exists()

    (journal,) = data.parent.glob("out-*.jsonl")
    with journal.open("a") as file:
        file.write('{"question_id": "q3"')  # as if killed while writing
    memex.seen.clear()
    memex.interfere = FakeMemex().interfere
    assert await _evaluate(memex, data, "--k", "3", "--jobs", "2") == 0
    assert "going on: 2 of 6 questions were asked before" in capsys.readouterr().err
    assert sorted(body["user_id"] for body in memex.bodies(SEARCH)) == ["q3", "q4", "q5", "q6_abs"]
    assert [question["id"] for question in _result(data)["questions"]] == [
        *(f"q{number}" for number in range(1, 6)),
        "q6_abs",
    ]


async def test_another_configuration_starts_another_file(memex: FakeMemex, data: Path) -> None:
    assert await _evaluate(memex, data) == 0
    assert await _evaluate(memex, data, "--alpha", "0.5") == 0
    assert len(list(data.parent.glob("out-*.jsonl"))) == 2
    assert len(memex.bodies(SEARCH)) == 12
    assert await _evaluate(memex, data, "--alpha", "0.5") == 0  # done already
    assert len(memex.bodies(SEARCH)) == 12
    assert await _evaluate(memex, data, "--alpha", "0.5", "--fresh") == 0
    assert len(memex.bodies(SEARCH)) == 18


async def test_waits_for_rate_limits_and_says_so_once(
    memex: FakeMemex, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused: set[tuple[str, str]] = set()

    async def refuse_first(request: web.Request, body: Any, step: Step) -> web.StreamResponse:
        user = body["memories"][0]["user_id"] if "memories" in body else body.get("user_id", "")
        if request.path in (BATCH, SEARCH) and (request.path, user) not in refused:
            refused.add((request.path, user))
            return _problem(429, "too many", **{"Retry-After": "0"})
        return await step()

    memex.interfere = refuse_first
    assert await _evaluate(memex, data) == 0
    assert _result(data)["requests_repeated"] == 12
    assert capsys.readouterr().err.count("MEMEX_RATE_LIMIT_SEARCHES_PER_MINUTE=0") == 1
    latencies = [question["latency_ms"] for question in _result(data)["questions"]]
    assert all(0 < latency < 10_000 for latency in latencies)


@pytest.mark.parametrize("commits", [True, False])
async def test_a_batch_of_unknown_outcome_is_stored_once(
    memex: FakeMemex, data: Path, commits: bool
) -> None:
    failed: set[str] = set()

    async def fail_first(request: web.Request, body: Any, step: Step) -> web.StreamResponse:
        if request.path == BATCH and (user := body["memories"][0]["user_id"]) not in failed:
            failed.add(user)
            if commits:
                await step()
            return _problem(503, "the database went away", **{"Retry-After": "0"})
        return await step()

    memex.interfere = fail_first
    assert await _evaluate(memex, data) == 0
    assert len(memex.bodies(BATCH)) == (6 if commits else 12)
    assert _result(data)["figures"]["overall"]["turns"]["MRR"]["mean"] == 1.0


async def test_a_write_from_elsewhere_is_noticed(
    memex: FakeMemex, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def twice(request: web.Request, _body: Any, step: Step) -> web.StreamResponse:
        if request.path == BATCH:
            await step()
        return await step()

    memex.interfere = twice
    assert await _evaluate(memex, data, "--jobs", "1") == 1
    assert "has 8 memories after 4 were stored" in capsys.readouterr().err


async def test_connections_that_are_cut_are_tried_again(memex: FakeMemex, data: Path) -> None:
    cut: list[str] = []

    async def cut_once(request: web.Request, _body: Any, step: Step) -> web.StreamResponse:
        if request.path == BATCH and not cut:
            cut.append(request.path)
            assert request.transport is not None
            request.transport.close()
        return await step()

    memex.interfere = cut_once
    assert await _evaluate(memex, data, "--limit", "1") == 0
    assert sum(len(body["memories"]) for body in memex.bodies(BATCH)) == 4


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1", "cannot be reached: [Errno 111]"),
        ("127.0.0.1:1", "is not a service's URL"),
        ("nowhere", "is not a service's URL"),
    ],
)
async def test_no_service_is_one_line(
    data: Path, capsys: pytest.CaptureFixture[str], url: str, said: str
) -> None:
    assert await asyncio.to_thread(main, [str(data), "--url", url]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"status": "degraded", "db": "down", "embedder": "ok"}, "(db down)"),
        ({"detail": "starting"}, "503 starting"),
    ],
)
async def test_an_unhealthy_service_is_one_line(
    memex: FakeMemex,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    answer: dict[str, str],
    said: str,
) -> None:
    async def unhealthy(_request: web.Request, _body: Any, _step: Step) -> web.StreamResponse:
        return web.json_response(answer, status=503)

    memex.interfere = unhealthy
    assert await _evaluate(memex, data) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


async def test_locomo_leaves_out_what_has_no_evidence(
    memex: FakeMemex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "locomo10.json", [locomo_sample()])
    assert await _evaluate(memex, data) == 0
    counts = _result(data)["counts"]
    expected = {"questions": 5, "answerable": 2, "abstention": 1, "without_evidence": 2}
    assert {name: counts[name] for name in expected} == expected
    assert len(memex.bodies(SEARCH)) == 3
    assert {body["as_of"] for body in memex.bodies(SEARCH)} == {"2023-06-09T00:05:00Z"}
    assert len(memex.bodies(BATCH)) == 1  # one scope for them all
    assert "2 questions name no usable evidence" in capsys.readouterr().out


async def test_ctrl_c_stops_at_once_and_cleans_up(memex: FakeMemex, data: Path) -> None:
    searching = asyncio.Event()

    async def hang(request: web.Request, body: Any, step: Step) -> web.StreamResponse:
        if request.path == SEARCH and body["user_id"] == "q2":
            searching.set()
            await asyncio.sleep(60)
        return await step()

    memex.interfere = hang
    arguments = [str(data), "--url", memex.url, "--out", str(data.parent / "out.json")]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "evaluation",
        *arguments,
        "--jobs",
        "1",
        stderr=asyncio.subprocess.PIPE,
        # Where the tests run in a shell's background they ignore it, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    async with asyncio.timeout(30):
        await searching.wait()
        process.send_signal(signal.SIGINT)
        _, error = await process.communicate()
    assert process.returncode == 130
    text = error.decode()
    assert text.splitlines()[-1] == (
        "evaluation: stopped; the same command goes on with the questions that are left"
    )
    assert "Traceback" not in text
    assert memex.memories == {}
