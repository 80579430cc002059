"""Metrics of the running service: /metrics of two ingress replicas, Prometheus scraping it, and
each query of the dashboard."""

import asyncio
import contextlib
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
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from serve_app.operations.machine import ports
from serve_app.settings import ROOT
from tests.support.ray.service import Service, listening_addresses
from tests.support.ray.waiting import until

SCOPE = {"agent_id": "xyzzy agent", "user_id": "xyzzy user"}
EVERYWHERE = {"application", "deployment", "replica", "node"}
_numbers = itertools.count()
DASHBOARD = ROOT / "configs" / "grafana" / "dashboards" / "memex.json"

Counters = dict[tuple[str, frozenset[Any]], float]
"""By name and labels."""

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="prometheus is not installed",
)


@pytest.fixture(scope="module")
def service(watched_service: Service) -> Service:
    return watched_service


async def use(client: httpx2.AsyncClient) -> UUID:
    """Send one request of each kind that is counted; return the id of the stored memory."""
    body = {**SCOPE, "content": f"xyzzy content {next(_numbers)}"}  # not in any cache
    stored = (await client.post("/v1/memories", json=body)).json()
    for _ in range(2):
        search = {**SCOPE, "query": "xyzzy query"}
        assert (await client.post("/v1/memories/search", json=search)).status_code == 200
    path = f"/v1/memories/{stored['id']}"
    assert (
        await client.get(path, params=SCOPE)
    ).status_code == 422  # `user_id` is no parameter here
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
    """The metric families by their documented names: with `_total`, which the parser drops."""
    return {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in text_string_to_metric_families(text)
    }


def documented_metrics() -> dict[str, tuple[str, set[str]]]:
    """The table of docs/reference/metrics.md: name → type and labels."""
    text = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(memex_\w+)` \| (\w+) \|([^|]*)\|", text, re.MULTILINE)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


async def exposition_of(client: httpx2.AsyncClient) -> str:
    """/metrics, once it has every documented metric."""

    async def is_complete() -> bool:
        found = families((await client.get("/metrics")).text)
        return documented_metrics().keys() <= found.keys()

    await use(client)
    await until(is_complete, 30)
    return (await client.get("/metrics")).text


def counters(text: str, *, of_callers: bool = False) -> Counters:
    """The samples that never decrease. `of_callers`: only those that grow with callers' requests,
    without the scrapes themselves."""

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


async def test_exported_metrics_match_the_docs(client: httpx2.AsyncClient) -> None:
    found = families(await exposition_of(client))
    ours = {name: family for name, family in found.items() if name.startswith("memex_")}
    for name, (kind, labels) in documented_metrics().items():
        assert ours[name].type == kind, name
        found_labels = {label for sample in ours[name].samples for label in sample.labels} - {"le"}
        expected = {"node"} if name == "memex_metrics_node_up" else labels | EVERYWHERE
        assert found_labels == expected, name
    assert ours.keys() == documented_metrics().keys()
    deployments = {
        sample.labels["deployment"] for sample in ours["memex_process_cpu_seconds_total"].samples
    }
    assert deployments == {"RestIngress", "McpIngress", "Embedder", "MemoryStore", "Summariser"}
    assert "ray_serve_deployment_replica_healthy" in found


async def test_no_label_contains_caller_input(client: httpx2.AsyncClient) -> None:
    memory_id = await use(client)
    text = ""

    async def has_all_routes() -> bool:
        nonlocal text
        text = await exposition_of(client)
        requests = families(text)["memex_http_requests_total"].samples
        routes = {sample.labels["route"] for sample in requests}
        return {"/v1/memories/{memory_id}", "/v1/memories/search", "/mcp", "(none)"} <= routes

    await until(has_all_routes, 30)
    assert "xyzzy" not in text
    assert str(memory_id) not in text


@needs_prometheus
async def test_promtool_accepts_the_exposition(client: httpx2.AsyncClient) -> None:
    text = await exposition_of(client)
    command = ["promtool", "check", "metrics"]
    run = functools.partial(subprocess.run, command, capture_output=True, text=True)
    result = await asyncio.to_thread(run, input=text)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


async def test_replicas_report_equal_counters_that_never_fall(
    service: Service, client: httpx2.AsyncClient
) -> None:
    before = counters(await exposition_of(client))

    async def memory_count() -> int:
        return int((await client.get("/v1/memories/count", params=SCOPE)).json()["count"])

    inserts_before, counted_before = await settled_inserts(client), await memory_count()
    for _ in range(5):
        await use(client)
    urls = [url for process in service.replicas("RestIngress") for url in http_of(process)]
    assert len(urls) == 2

    async def text_of(url: str) -> str:
        return (await client.get(f"{url}/metrics")).text

    async def is_same() -> bool:
        first, second = [counters(await text_of(url), of_callers=True) for url in urls]
        inserted = inserts(first) - inserts_before
        return first == second and inserted == await memory_count() - counted_before

    await until(is_same, 30)
    for url in urls:
        after = counters(await text_of(url))
        assert {key for key, value in before.items() if after[key] < value} == set()


def inserts(found: Counters) -> float:
    return sum(
        value
        for (name, labels), value in found.items()
        if name == "memex_memory_operations_total" and ("operation", "insert") in labels
    )


async def settled_inserts(client: httpx2.AsyncClient) -> float:
    """The number of counted inserts, once it no longer changes."""
    last: list[float] = []

    async def is_settled() -> bool:
        await asyncio.sleep(1.5)
        last.append(inserts(counters((await client.get("/metrics")).text)))
        return len(last) > 1 and last[-1] == last[-2]

    await until(is_settled, 30)
    return last[-1]


def http_of(process: psutil.Process) -> list[str]:
    """The URLs at which a replica answers HTTP, behind HAProxy."""
    found = []
    for host, port in listening_addresses([process]):
        url = f"http://{host}:{port}"
        try:
            if host == "127.0.0.1" and httpx2.get(f"{url}/health").is_success:
                found.append(url)
        except httpx2.HTTPError:
            continue
    return found


@needs_prometheus
async def test_prometheus_has_data_for_each_dashboard_query(
    service: Service, client: httpx2.AsyncClient
) -> None:
    port = ports.free(27_002, (service.port,))
    with memex_observe(service, port) as process:
        assert process.stdout is not None
        line = await asyncio.to_thread(process.stdout.readline)
        assert f"http://127.0.0.1:{port}/alerts" in line, line + process.stdout.read()
        pids = [process.pid, *(p.pid for p in psutil.Process(process.pid).children())]
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
        assert not any(psutil.pid_exists(pid) for pid in pids)
    assert (service.data_dir / "prometheus" / "data").is_dir()


@contextlib.contextmanager
def memex_observe(service: Service, port: int) -> Iterator["subprocess.Popen[str]"]:
    """`memex observe` in a process group of its own, as in a terminal."""
    with subprocess.Popen(
        [sys.executable, "-m", "serve_app.cli", "observe", "--port", str(port), "--every", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **service.settings},
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


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
