"""`memex status`: figures from two readings of /metrics, and the report of unknown figures."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployments.domain.errors import InvalidInput
from serve_app.operations.diagnose import figures, status
from serve_app.operations.http import Answer, NoAnswer
from serve_app.operations.running import api_url
from serve_app.settings import Settings, load_settings

ROUTE = 'method="POST",route="/v1/memories/search"'


def metrics(ok: int, failed: int, fast: int, slow: int, health: int = 0) -> str:
    """/metrics after `ok` and `failed` searches; `fast` took up to 10 ms, `slow` up to 100 ms."""
    return f"""# TYPE memex_http_requests_total counter
memex_http_requests_total{{{ROUTE},status="200"}} {ok}
memex_http_requests_total{{{ROUTE},status="503"}} {failed}
memex_http_requests_total{{method="GET",route="/health",status="200"}} {health}
# TYPE memex_http_request_duration_seconds histogram
memex_http_request_duration_seconds_bucket{{{ROUTE},le="0.01"}} {fast}
memex_http_request_duration_seconds_bucket{{{ROUTE},le="0.1"}} {fast + slow}
memex_http_request_duration_seconds_bucket{{{ROUTE},le="+Inf"}} {ok + failed}
memex_http_request_duration_seconds_bucket{{method="GET",route="/health",le="+Inf"}} {health}
# TYPE ray_serve_deployment_queued_queries gauge
ray_serve_deployment_queued_queries{{deployment="Embedder",handle="a"}} 3.0
ray_serve_deployment_queued_queries{{deployment="Embedder",handle="b"}} 1.0
# TYPE ray_serve_replica_processing_queries gauge
ray_serve_replica_processing_queries{{deployment="Embedder",replica="x"}} 2.0
# TYPE ray_serve_deployment_replica_healthy gauge
ray_serve_deployment_replica_healthy{{deployment="Embedder",replica="x"}} 1.0
ray_serve_deployment_replica_healthy{{deployment="Embedder",replica="y"}} 0.0
"""


BEFORE = figures.parsed(metrics(10, 0, 10, 0))


def test_requests_are_counted_between_two_readings() -> None:
    now = figures.parsed(metrics(105, 5, 100, 10, health=50))
    assert figures.requests_between(BEFORE, now) == 100
    assert figures.failures_between(BEFORE, now) == 5


def test_restarted_replica_is_counted_from_zero() -> None:
    assert figures.requests_between(BEFORE, figures.parsed(metrics(4, 0, 4, 0))) == 4


def test_p99_is_interpolated_within_its_bucket() -> None:
    now = figures.parsed(metrics(110, 0, 100, 10))  # 90 fast, 10 slow: the 99th of a hundred
    assert figures.p99_s(BEFORE, now) == pytest.approx(0.01 + 0.09 * 9 / 10)
    assert figures.p99_s(BEFORE, BEFORE) is None
    assert figures.p99_s(BEFORE, figures.parsed(metrics(20, 0, 10, 0))) == math.inf
    assert figures.p99_s({}, {}) is None


def test_queues_and_replicas_are_summed_by_deployment() -> None:
    assert figures.queued(BEFORE) == {"Embedder": 4}
    assert figures.worked_on(BEFORE) == {"Embedder": 2}
    assert figures.healthy_replicas(BEFORE) == {"Embedder": 1}
    assert figures.queued({}) is None


def test_last_run_is_the_newest_of_all_replicas() -> None:
    name = "memex_summarizer_last_pass_timestamp_seconds"
    text = f'# TYPE {name} gauge\n{name}{{replica="a"}} 0\n{name}{{replica="b"}} 1795269740.6\n'
    assert figures.last_summariser_pass(figures.parsed(text)) == "2026-11-21T14:02:20Z"
    assert figures.last_summariser_pass(figures.parsed(text.replace("1795269740.6", "0"))) is None


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"MEMEX_DATA_DIR": str(tmp_path)})


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Answer]]:
    """The service's answers by path, in order; a path without answers refuses the connection."""
    answers: dict[str, list[Answer]] = {}

    def get(url: str, *_rest: object) -> Answer:
        path = "/" + url.split("/", 3)[3]
        if not answers.get(path):
            raise NoAnswer("Connection refused")
        return answers[path].pop(0)

    monkeypatch.setattr(status, "get", get)
    monkeypatch.setattr("serve_app.operations.running.get", get)
    monkeypatch.setattr("time.sleep", lambda _s: None)
    return answers


def set_answers(service: dict[str, list[Answer]], *readings: str) -> None:
    service["/health"] = [Answer(200, '{"status": "ok", "version": "1.2"}')]
    service["/metrics"] = [Answer(200, reading) for reading in readings]


def test_known_figures_are_printed(
    settings: Settings, service: dict[str, list[Answer]], capsys: Any
) -> None:
    set_answers(service, metrics(10, 0, 10, 0), metrics(105, 5, 100, 10))
    deployment = {"replicas": [{"state": "RUNNING"}], "target_num_replicas": 2}
    applications = {"applications": {"memex": {"deployments": {"Embedder": deployment}}}}
    service["/api/serve/applications/"] = [Answer(200, json.dumps(applications))]
    assert status.status(settings, None, 10, as_json=False)
    printed = capsys.readouterr().out
    assert "ok, version 1.2" in printed
    assert "Embedder         1 of 2 replicas, 4 calls waiting, 2 in progress" in printed
    assert "10.0 requests/s, 0.5 failures/s" in printed
    assert "memories         unknown: the embedded Postgres does not run" in printed
    assert "summariser       unknown: no run is in the service's metrics" in printed


def test_remote_service_is_described_by_its_metrics(
    settings: Settings, service: dict[str, list[Answer]]
) -> None:
    set_answers(service, metrics(1, 0, 1, 0), metrics(1, 0, 1, 0))
    found = status.gather(settings, "http://memex.example.org/", 5)
    assert found["deployments"]["Embedder"] == {
        "replicas": 1, "target": None, "queued": 4, "worked_on": 2,
    }  # fmt: skip
    assert found["requests_per_s"] == 0
    assert set(found["unknown"]) == {"p99_s", "memories", "last_summariser_run"}


def test_without_an_interval_rates_are_unknown(
    settings: Settings, service: dict[str, list[Answer]]
) -> None:
    set_answers(service, metrics(1, 0, 1, 0))
    assert "--over" in status.gather(settings, None, 0)["unknown"]["requests_per_s"]


def without_metrics(service: dict[str, list[Answer]]) -> None:
    set_answers(service)
    service["/metrics"] = [Answer(404, "")]


def with_empty_metrics(service: dict[str, list[Answer]]) -> None:
    set_answers(service, "", "")


def with_html_as_metrics(service: dict[str, list[Answer]]) -> None:
    set_answers(service, "<html>", "<html>")


def another_program(service: dict[str, list[Answer]]) -> None:
    service["/health"] = [Answer(200, "hello")]


def without_replicas(service: dict[str, list[Answer]]) -> None:
    service["/health"] = [Answer(503, '{"status": 503, "detail": "no replica"}')]


@pytest.mark.parametrize(
    "state",
    [
        without_metrics,
        with_empty_metrics,
        with_html_as_metrics,
        another_program,
        without_replicas,
        lambda _service: None,
    ],
)
def test_unknown_figures_are_reported_with_a_reason(
    settings: Settings,
    service: dict[str, list[Answer]],
    state: Callable[[dict[str, list[Answer]]], None],
    capsys: Any,
) -> None:
    state(service)
    status.status(settings, None, 1, as_json=True)
    found = json.loads(capsys.readouterr().out)
    for name in ("requests_per_s", "failures_per_s", "p99_s", "memories", "last_summariser_run"):
        assert found[name] is None
        assert found["unknown"][name], name
    assert found["unknown"]["deployments"]
    state(service)
    is_well = status.status(settings, None, 1, as_json=False)
    assert is_well == (found["health"] == "ok")
    assert capsys.readouterr().out.count("unknown: ") >= 5


@pytest.mark.parametrize("url", ["x", "ftp://x", "http://", "http://x:99999", "http://[x"])
def test_invalid_url_is_refused(settings: Settings, url: str) -> None:
    with pytest.raises(InvalidInput, match="--url"):
        status.gather(settings, url, 0)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("memex.example.org", "http://memex.example.org:8000"),
    ],
)
def test_api_url_depends_on_the_host(host: str, url: str) -> None:
    assert api_url(load_settings({"MEMEX_HOST": host})) == url
