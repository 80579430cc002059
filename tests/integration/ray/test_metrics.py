"""What the running service says of itself: /metrics of two ingress replicas, Prometheus over it,
each query of the dashboard."""

import asyncio
import functools
import itertools
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx2
import psutil
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from serve_app.operations.machine import ports
from serve_app.settings import ROOT
from tests.support.ray.service import NO_LIMITS, Service, fresh, listening
from tests.support.ray.waiting import until

SCOPE = {"agent_id": "xyzzy agent", "user_id": "xyzzy user"}
EVERYWHERE = {"application", "deployment", "replica", "node"}
_numbers = itertools.count()
DASHBOARD = ROOT / "configs" / "grafana" / "dashboards" / "memex.json"

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="prometheus is not installed",
)


@pytest.fixture(scope="module")
def service(alone: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """With two replicas of RestIngress, which tell of themselves each second."""
    profile = yaml.safe_load((ROOT / "configs" / "laptop.yaml").read_text())
    profile["deployments"]["RestIngress"]["num_replicas"] = 2
    path = tmp_path_factory.mktemp("profile") / "two.yaml"
    path.write_text(yaml.safe_dump(profile))
    settings = {
        **NO_LIMITS,
        "MEMEX_PROFILE": str(path),
        "MEMEX_SUMMARIZATION_ENABLED": "true",
        "MEMEX_SUMMARIZATION_INTERVAL_SECONDS": "1",
        "RAY_metrics_report_interval_ms": "1000",
        "RAY_SERVE_STATUS_GAUGE_REPORT_INTERVAL_S": "0.5",
    }
    with fresh(**settings) as service:
        yield service


async def use(client: httpx2.AsyncClient) -> UUID:
    """One request of each kind that something is counted of."""
    body = {**SCOPE, "content": f"xyzzy content {next(_numbers)}"}  # one that no cache has
    stored = (await client.post("/v1/memories", json=body)).json()
    for _ in range(2):
        search = {**SCOPE, "query": "xyzzy query"}
        assert (await client.post("/v1/memories/search", json=search)).status_code == 200
    path = f"/v1/memories/{stored['id']}"
    assert (await client.get(path, params=SCOPE)).status_code == 422  # no user is asked for
    await client.patch(path, params={"agent_id": SCOPE["agent_id"]}, json={"importance": 1})
    await client.get("/xyzzy/path")
    call = {"name": "count_memories", "arguments": SCOPE}
    answer = await client.post(
        "/mcp",
        json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call},
        headers={"accept": "application/json, text/event-stream"},
    )
    assert answer.status_code == 200
    return UUID(stored["id"])


def families(text: str) -> dict[str, Any]:
    """By their names in the table: with `_total`, which the parser leaves out."""
    return {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in text_string_to_metric_families(text)
    }


def documented() -> dict[str, tuple[str, set[str]]]:
    """The table of docs/observability.md: name → type and labels."""
    text = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(memex_\w+)` \| (\w+) \|([^|]*)\|", text, re.MULTILINE)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


async def exported(client: httpx2.AsyncClient) -> str:
    """/metrics, once what has happened by now is in it."""

    async def is_there() -> bool:
        found = families((await client.get("/metrics")).text)
        return documented().keys() <= found.keys()

    await use(client)
    await until(is_there, 30)
    return (await client.get("/metrics")).text


def counters(text: str, *, of_callers: bool = False) -> dict[tuple[str, frozenset[Any]], float]:
    """Samples that may only grow; `of_callers`: without what goes on while nobody calls, or counts
    the looking."""

    def grows(sample: Sample) -> bool:
        if not sample.name.startswith("memex_"):
            return False
        if of_callers:
            return (
                sample.name.endswith("_total")
                and "cpu" not in sample.name
                and sample.labels.get("route") not in ("/metrics", "/health")
            )
        return sample.name.endswith(("_total", "_bucket", "_count", "_sum"))

    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families(text).values()
        for sample in family.samples
        if grows(sample)
    }


async def test_what_is_exported_is_what_is_documented(client: httpx2.AsyncClient) -> None:
    found = families(await exported(client))
    ours = {name: family for name, family in found.items() if name.startswith("memex_")}
    for name, (kind, labels) in documented().items():
        assert ours[name].type == kind, name
        seen = {label for sample in ours[name].samples for label in sample.labels} - {"le"}
        expected = {"node"} if name == "memex_metrics_node_up" else labels | EVERYWHERE
        assert seen == expected, name
    assert ours.keys() == documented().keys()
    deployments = {
        sample.labels["deployment"] for sample in ours["memex_process_cpu_seconds_total"].samples
    }
    assert deployments == {"RestIngress", "McpIngress", "Embedder", "MemoryStore", "Summariser"}
    assert "ray_serve_deployment_replica_healthy" in found


async def test_nothing_that_a_caller_sends_is_a_label(client: httpx2.AsyncClient) -> None:
    memory_id = await use(client)
    text = await exported(client)
    assert "xyzzy" not in text
    assert str(memory_id) not in text
    routes = {
        sample.labels["route"] for sample in families(text)["memex_http_requests_total"].samples
    }
    assert {"/v1/memories/{memory_id}", "/v1/memories/search", "/mcp", "(none)"} <= routes


@needs_prometheus
async def test_promtool_has_nothing_to_complain_of(client: httpx2.AsyncClient) -> None:
    text = await exported(client)
    command = ["promtool", "check", "metrics"]
    run = functools.partial(subprocess.run, command, capture_output=True, text=True)
    done = await asyncio.to_thread(run, input=text)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


async def test_replicas_say_the_same_and_no_counter_falls(
    service: Service, client: httpx2.AsyncClient
) -> None:
    before = counters(await exported(client))
    for _ in range(5):
        await use(client)
    urls = [url for process in service.replicas("RestIngress") for url in http_of(process)]
    assert len(urls) == 2

    async def text_of(url: str) -> str:
        return (await client.get(f"{url}/metrics")).text

    async def is_same() -> bool:
        first, second = [counters(await text_of(url), of_callers=True) for url in urls]
        stored = sum(
            value
            for (name, labels), value in first.items()
            if name == "memex_memory_operations_total" and ("operation", "insert") in labels
        )
        count = await client.get("/v1/memories/count", params=SCOPE)
        return first == second and stored == count.json()["count"]

    await until(is_same, 30)
    for url in urls:
        after = counters(await text_of(url))
        assert {key for key, value in before.items() if after[key] < value} == set()


def http_of(process: psutil.Process) -> list[str]:
    """Where a replica is behind HAProxy."""
    found = []
    for host, port in listening([process]):
        url = f"http://{host}:{port}"
        try:
            if host == "127.0.0.1" and httpx2.get(f"{url}/health").is_success:
                found.append(url)
        except httpx2.HTTPError:
            continue
    return found


@needs_prometheus
async def test_prometheus_has_data_for_each_query_of_the_dashboard(
    service: Service, client: httpx2.AsyncClient
) -> None:
    port = ports.free(27_002, (service.port,))
    process = observing(service, port)
    try:
        assert process.stdout is not None
        said = await asyncio.to_thread(process.stdout.readline)
        assert f"http://127.0.0.1:{port}/alerts" in said, said + process.stdout.read()
        family = [process.pid, *(p.pid for p in psutil.Process(process.pid).children())]
        url = f"http://127.0.0.1:{port}"
        waiting = queries()

        async def have_data() -> bool:
            await use(client)
            for query in list(waiting):
                if await has_data(client, url, query):
                    waiting.remove(query)
            return not waiting

        try:
            await until(have_data, 45)
        except AssertionError:
            pytest.fail(f"without data: {waiting}")
        rules = (await client.get(f"{url}/api/v1/rules")).json()["data"]["groups"][0]["rules"]
        assert {rule["health"] for rule in rules} == {"ok"}
        assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []

        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        assert process.wait(30) == 0
        assert not any(psutil.pid_exists(pid) for pid in family)
    finally:
        process.kill()
        process.wait()
    assert (service.data_dir / "prometheus" / "data").is_dir()


def observing(service: Service, port: int) -> "subprocess.Popen[str]":
    """`memex observe` in a process group of its own, as in a terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "serve_app.cli", "observe", "--port", str(port), "--every", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **service.settings},
        start_new_session=True,
    )


def queries() -> list[str]:
    found = [
        target["expr"].replace("$__rate_interval", "10s")
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for target in panel["targets"]
    ]
    assert len(found) > 20
    return found


async def has_data(client: httpx2.AsyncClient, url: str, query: str) -> bool:
    answer = (await client.get(f"{url}/api/v1/query", params={"query": query})).json()
    assert answer["status"] == "success", (query, answer)
    values = [float(series["value"][1]) for series in answer["data"]["result"]]
    return any(not math.isnan(value) for value in values)
