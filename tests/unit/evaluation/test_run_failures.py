"""The evaluation command against a service that refuses, fails or does not answer."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from evaluation.cli import main
from tests.support.evaluation.command import BATCH, SEARCH, evaluate, result_of
from tests.support.evaluation.memex import FakeMemex, Proceed


def _problem(status: int, detail: str, **headers: str) -> web.Response:
    body = json.dumps({"status": status, "detail": detail})
    return web.Response(
        status=status, text=body, headers=headers, content_type="application/problem+json"
    )


async def test_command_continues_after_a_failure(
    memex: FakeMemex, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail_q3(request: web.Request, body: Any, proceed: Proceed) -> web.StreamResponse:
        if request.path == SEARCH and body["user_id"] == "q3":
            return _problem(500, "an internal error; it has been logged")
        return await proceed()

    memex.intercept = fail_q3
    assert await evaluate(memex, data, "--jobs", "1") == 1
    stderr = capsys.readouterr().err
    assert (
        "500 an internal error; it has been logged; run the same command to continue (2 of 6"
        in stderr
    )
    assert "Traceback" not in stderr
    assert memex.memories == {}  # those of unfinished questions are deleted
    assert not (data.parent / "out.json").exists()

    (journal,) = data.parent.glob("out-*.jsonl")
    with journal.open("a") as file:
        file.write('{"question_id": "q3"')  # as if killed while writing
    memex.requests.clear()
    memex.intercept = FakeMemex().intercept
    assert await evaluate(memex, data, "--k", "3", "--jobs", "2") == 0
    assert "continuing: 2 of 6 questions are done" in capsys.readouterr().err
    assert sorted(body["user_id"] for body in memex.bodies(SEARCH)) == ["q3", "q4", "q5", "q6_abs"]
    assert [question["id"] for question in result_of(data)["questions"]] == [
        *(f"q{number}" for number in range(1, 6)),
        "q6_abs",
    ]


async def test_rate_limits_are_waited_for_and_reported_once(
    memex: FakeMemex, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused: set[tuple[str, str]] = set()

    async def refuse_first(request: web.Request, body: Any, proceed: Proceed) -> web.StreamResponse:
        user = body["memories"][0]["user_id"] if "memories" in body else body.get("user_id", "")
        if request.path in (BATCH, SEARCH) and (request.path, user) not in refused:
            refused.add((request.path, user))
            return _problem(429, "too many", **{"Retry-After": "0"})
        return await proceed()

    memex.intercept = refuse_first
    assert await evaluate(memex, data) == 0
    assert result_of(data)["requests_repeated"] == 12
    assert capsys.readouterr().err.count("MEMEX_RATE_LIMIT_SEARCHES_PER_MINUTE=0") == 1
    latencies = [question["latency_ms"] for question in result_of(data)["questions"]]
    assert all(0 < latency < 10_000 for latency in latencies)


@pytest.mark.parametrize("commits", [True, False])
async def test_batch_of_unknown_outcome_is_stored_once(
    memex: FakeMemex, data: Path, commits: bool
) -> None:
    failed: set[str] = set()

    async def fail_first(request: web.Request, body: Any, proceed: Proceed) -> web.StreamResponse:
        if request.path == BATCH and (user := body["memories"][0]["user_id"]) not in failed:
            failed.add(user)
            if commits:
                await proceed()
            return _problem(503, "the database went away", **{"Retry-After": "0"})
        return await proceed()

    memex.intercept = fail_first
    assert await evaluate(memex, data) == 0
    assert len(memex.bodies(BATCH)) == (6 if commits else 12)
    assert result_of(data)["figures"]["overall"]["turns"]["MRR"]["mean"] == 1.0


async def test_write_of_another_client_is_detected(
    memex: FakeMemex, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def twice(request: web.Request, _body: Any, proceed: Proceed) -> web.StreamResponse:
        if request.path == BATCH:
            await proceed()
        return await proceed()

    memex.intercept = twice
    assert await evaluate(memex, data, "--jobs", "1") == 1
    assert "has 8 memories after 4 were stored" in capsys.readouterr().err


async def test_cut_connections_are_retried(memex: FakeMemex, data: Path) -> None:
    cut: list[str] = []

    async def cut_once(request: web.Request, _body: Any, proceed: Proceed) -> web.StreamResponse:
        if request.path == BATCH and not cut:
            cut.append(request.path)
            assert request.transport is not None
            request.transport.close()
        return await proceed()

    memex.intercept = cut_once
    assert await evaluate(memex, data, "--limit", "1") == 0
    assert sum(len(body["memories"]) for body in memex.bodies(BATCH)) == 4


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:1", "cannot be reached: [Errno 111]"),
        ("127.0.0.1:1", "is not a service's URL"),
        ("nowhere", "is not a service's URL"),
    ],
)
async def test_missing_service_is_a_one_line_error(
    data: Path, capsys: pytest.CaptureFixture[str], url: str, message: str
) -> None:
    assert await asyncio.to_thread(main, [str(data), "--url", url]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"status": "degraded", "db": "down", "embedder": "ok"}, "(db down)"),
        ({"detail": "starting"}, "503 starting"),
    ],
)
async def test_unhealthy_service_is_a_one_line_error(
    memex: FakeMemex,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    answer: dict[str, str],
    message: str,
) -> None:
    async def unhealthy(_request: web.Request, _body: Any, _proceed: Proceed) -> web.StreamResponse:
        return web.json_response(answer, status=503)

    memex.intercept = unhealthy
    assert await evaluate(memex, data) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


async def test_ctrl_c_stops_at_once_and_cleans_up(memex: FakeMemex, data: Path) -> None:
    searching = asyncio.Event()

    async def hang(request: web.Request, body: Any, proceed: Proceed) -> web.StreamResponse:
        if request.path == SEARCH and body["user_id"] == "q2":
            searching.set()
            await asyncio.sleep(60)
        return await proceed()

    memex.intercept = hang
    arguments = [str(data), "--url", memex.url, "--out", str(data.parent / "out.json")]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "evaluation",
        *arguments,
        "--jobs",
        "1",
        stderr=asyncio.subprocess.PIPE,
        # Tests in a shell's background ignore SIGINT, and their child processes would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    async with asyncio.timeout(30):
        await searching.wait()
        process.send_signal(signal.SIGINT)
        _, error = await process.communicate()
    assert process.returncode == 130
    text = error.decode()
    assert text.splitlines()[-1] == (
        "evaluation: stopped; run the same command to continue with the remaining questions"
    )
    assert "Traceback" not in text
    assert memex.memories == {}
