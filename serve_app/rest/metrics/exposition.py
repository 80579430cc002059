"""GET /metrics: the metrics of all of the cluster's nodes, merged into one text."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping

import httpx2
import ray

from serve_app.rest.metrics.prometheus_text import merged, node_family, written

_FETCH_TIMEOUT_S = 5.0


def exporters() -> dict[str, str]:
    """Of the nodes that Ray takes for alive: address → URL of the exporter."""
    return {
        node["NodeManagerAddress"]: (
            f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        )
        for node in ray.nodes()
        if node["Alive"] and node["MetricsExportPort"]
    }


class Exposition:
    """The same counters whichever replica is asked: none answers from its own memory.

    A node that does not answer within `node_timeout_s` is reported as down, and later calls no
    longer wait for it until its answer arrives. Calls within `reuse_s` of a gathering share its
    text. Belongs to one event loop.
    """

    def __init__(
        self,
        nodes: Callable[[], Mapping[str, str]] = exporters,
        *,
        reuse_s: float = 0.5,
        node_timeout_s: float = 0.5,
    ) -> None:
        self._nodes = nodes
        self._reuse_s = reuse_s
        self._node_timeout_s = node_timeout_s
        self._known: Mapping[str, str] = {}
        self._fetches: dict[str, asyncio.Task[str]] = {}
        self._late: set[str] = set()
        self._gathering = asyncio.Lock()
        self._text = ""
        self._gathered_s = -math.inf
        self._http = httpx2.AsyncClient(timeout=_FETCH_TIMEOUT_S, trust_env=False)

    async def __call__(self) -> str:
        async with self._gathering:
            if time.monotonic() - self._gathered_s >= self._reuse_s:
                self._text = await self._gather()
                self._gathered_s = time.monotonic()
            return self._text

    async def close(self) -> None:
        for fetch in self._fetches.values():
            fetch.cancel()
        await self._http.aclose()

    async def _gather(self) -> str:
        nodes = await self._alive()
        for address in self._fetches.keys() - nodes.keys():
            self._fetches.pop(address).cancel()
        self._late &= nodes.keys()
        for address, url in nodes.items():
            self._ask(address, url)
        waited_for = [self._fetches[address] for address in nodes.keys() - self._late]
        if waited_for:
            await asyncio.wait(waited_for, timeout=self._node_timeout_s)
        self._late |= {address for address in nodes if not self._fetches[address].done()}
        texts = {address: _answer(self._fetches[address]) for address in sorted(nodes)}
        # Not here: it takes some milliseconds, for which requests would have to wait.
        return await asyncio.to_thread(_put_together, texts)

    async def _alive(self) -> Mapping[str, str]:
        try:
            async with asyncio.timeout(self._node_timeout_s):
                self._known = await asyncio.to_thread(self._nodes)
        except TimeoutError:  # Ray's control process is away; the nodes may not be
            pass
        return self._known

    def _ask(self, address: str, url: str) -> None:
        """Anew, unless it has yet to answer the last time."""
        last = self._fetches.get(address)
        if last is None or last.done():
            if last is not None and _answer(last) is not None:
                self._late.discard(address)
            self._fetches[address] = asyncio.create_task(self._fetch(url))

    async def _fetch(self, url: str) -> str:
        # Within a cluster, compressing the text would take the exporter longer than all the rest.
        response = await self._http.get(url, headers={"Accept-Encoding": "identity"})
        return response.raise_for_status().text


def _answer(fetch: "asyncio.Task[str]") -> str | None:
    if not fetch.done() or fetch.cancelled() or fetch.exception() is not None:
        return None
    return fetch.result()


def _put_together(texts: Mapping[str, str | None]) -> str:
    families = merged(text for text in texts.values() if text is not None)
    families["memex_metrics_node_up"] = node_family(
        [(address, text is not None) for address, text in texts.items()]
    )
    return written(families)
