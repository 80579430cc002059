"""What the running service says of itself: /metrics of two ingress replicas, Prometheus over it,
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
from tests.support.ray.service import Service, listening
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


def counters(text: str, *, of_callers: bool = False) -> Counters:
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
    text = ""

    async def routes_are_there() -> bool:
        nonlocal text
        text = await exported(client)
        requests = families(text)["memex_http_requests_total"].samples
        routes = {sample.labels["route"] for sample in requests}
        return {"/v1/memories/{memory_id}", "/v1/memories/search", "/mcp", "(none)"} <= routes

    await until(routes_are_there, 30)
    assert "xyzzy" not in text
    assert str(memory_id) not in text


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

    async def counted() -> int:
        return int((await client.get("/v1/memories/count", params=SCOPE)).json()["count"])

    inserts_before, counted_before = await settled(client), await counted()
    for _ in range(5):
        await use(client)
    urls = [url for process in service.replicas("RestIngress") for url in http_of(process)]
    assert len(urls) == 2

    async def text_of(url: str) -> str:
        return (await client.get(f"{url}/metrics")).text

    async def is_same() -> bool:
        first, second = [counters(await text_of(url), of_callers=True) for url in urls]
        inserted = inserts(first) - inserts_before
        return first == second and inserted == await counted() - counted_before

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


async def settled(client: httpx2.AsyncClient) -> float:
    """How many inserts are counted, once those that are done are."""
    last: list[float] = []

    async def is_still() -> bool:
        await asyncio.sleep(1.5)
        last.append(inserts(counters((await client.get("/metrics")).text)))
        return len(last) > 1 and last[-1] == last[-2]

    await until(is_still, 30)
    return last[-1]


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
    with observing(service, port) as process:
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
    assert (service.data_dir / "prometheus" / "data").is_dir()


@contextlib.contextmanager
def observing(service: Service, port: int) -> Iterator["subprocess.Popen[str]"]:
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
