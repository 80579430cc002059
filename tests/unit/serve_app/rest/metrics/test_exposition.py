import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client.parser import text_string_to_metric_families

from serve_app.rest.metrics.exposition import Exposition

COUNT = """# HELP ray_memex_shed_total Refused.
# TYPE ray_memex_shed_total counter
ray_memex_shed_total{{NodeAddress="{node}"}} {count}
"""


class Exporter:
    """A node's metrics exporter; it answers while `may_answer` is set."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.requests = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def answer(self, _request: web.Request) -> web.Response:
        self.requests += 1
        await self.may_answer.wait()
        return web.Response(text=COUNT.format(node=self.node, count=self.requests))


Start = Callable[[Exporter], Awaitable[str]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    servers = []

    async def start_exporter(exporter: Exporter) -> str:
        app = web.Application()
        app.router.add_get("/metrics", exporter.answer)
        server = TestServer(app)
        await server.start_server()
        servers.append(server)
        return str(server.make_url("/metrics"))

    yield start_exporter
    for server in servers:
        await server.close()


def values(text: str) -> dict[tuple[str, str], float]:
    return {
        (sample.name, sample.labels["node"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_exposition_contains_all_nodes(start: Start) -> None:
    nodes = {name: await start(Exporter(name)) for name in ("a", "b")}
    gather = Exposition(lambda: nodes)
    assert values(await gather()) == {
        ("memex_shed_total", "a"): 1,
        ("memex_shed_total", "b"): 1,
        ("memex_metrics_node_up", "a"): 1,
        ("memex_metrics_node_up", "b"): 1,
    }
    await gather.close()


async def test_concurrent_callers_share_one_gathering(start: Start) -> None:
    exporter = Exporter("a")
    nodes = {"a": await start(exporter)}
    gather = Exposition(lambda: nodes)
    assert len(set(await asyncio.gather(*(gather() for _ in range(20))))) == 1
    assert exporter.requests == 1
    await gather.close()


async def test_stuck_node_is_reported_and_not_waited_for(start: Start) -> None:
    quick, stuck = Exporter("a"), Exporter("b")
    nodes = {"a": await start(quick), "b": await start(stuck)}
    gather = Exposition(lambda: nodes, reuse_s=0, node_timeout_s=0.3)
    stuck.may_answer.clear()
    assert values(await gather())["memex_metrics_node_up", "b"] == 0
    started = time.monotonic()
    found = values(await gather())
    assert time.monotonic() - started < 0.3
    assert found["memex_metrics_node_up", "b"] == 0
    assert found["memex_shed_total", "a"] == 2
    assert ("memex_shed_total", "b") not in found
    assert stuck.requests == 1  # later calls do not ask it again

    stuck.may_answer.set()
    async with asyncio.timeout(10):
        while values(await gather())["memex_metrics_node_up", "b"] == 0:
            await asyncio.wait(gather._fetches.values())
        assert values(await gather())["memex_shed_total", "b"] >= 1
    await gather.close()


async def test_nodes_can_appear_and_disappear(start: Start) -> None:
    nodes = {"a": await start(Exporter("a")), "gone": "http://127.0.0.1:9/metrics"}
    gather = Exposition(lambda: dict(nodes), reuse_s=0)
    assert values(await gather())["memex_metrics_node_up", "gone"] == 0
    del nodes["gone"]
    nodes["b"] = await start(Exporter("b"))
    found = values(await gather())
    assert ("memex_metrics_node_up", "gone") not in found
    assert found["memex_metrics_node_up", "b"] == 1
    await gather.close()
