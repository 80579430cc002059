"""GET /metrics: the metrics of all cluster nodes, merged into one text."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping

import httpx2
import ray

from serve_app.rest.metrics.prometheus_text import merge, node_family, render

_FETCH_TIMEOUT_S = 5.0


def exporters() -> dict[str, str]:
    """The URLs of the metrics exporters of all nodes that Ray considers alive, by node address."""
    return {
        node["NodeManagerAddress"]: (
            f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        )
        for node in ray.nodes()
        if node["Alive"] and node["MetricsExportPort"]
    }


class Exposition:
    """Gathers the metrics from the exporters of all nodes, so that every replica returns the same.

    A node that does not answer within `node_timeout_s` is reported as down. Later calls do not wait
    for it until its answer arrives. Calls within `reuse_s` of the last gathering get its text
    again. Belongs to one event loop.
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
        self._last_nodes: Mapping[str, str] = {}
        self._fetches: dict[str, asyncio.Task[str]] = {}
        self._late: set[str] = set()  # nodes that calls do not wait for
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
            self._start_fetch(address, url)
        awaited = [self._fetches[address] for address in nodes.keys() - self._late]
        if awaited:
            await asyncio.wait(awaited, timeout=self._node_timeout_s)
        self._late |= {address for address in nodes if not self._fetches[address].done()}
        texts = {address: _text_of(self._fetches[address]) for address in sorted(nodes)}
        # In a thread, because this takes some milliseconds and requests would wait.
        return await asyncio.to_thread(_merge_texts, texts)

    async def _alive(self) -> Mapping[str, str]:
        try:
            async with asyncio.timeout(self._node_timeout_s):
                self._last_nodes = await asyncio.to_thread(self._nodes)
        except TimeoutError:  # Ray's control process does not answer, but the nodes may
            pass
        return self._last_nodes

    def _start_fetch(self, address: str, url: str) -> None:
        """Fetch the node's metrics again, unless the last fetch is still running."""
        last = self._fetches.get(address)
        if last is None or last.done():
            if last is not None and _text_of(last) is not None:
                self._late.discard(address)
            self._fetches[address] = asyncio.create_task(self._fetch(url))

    async def _fetch(self, url: str) -> str:
        # Uncompressed: within a cluster, compression would take longer than everything else.
        response = await self._http.get(url, headers={"Accept-Encoding": "identity"})
        return response.raise_for_status().text


def _text_of(fetch: "asyncio.Task[str]") -> str | None:
    """The text that was fetched; None if the fetch still runs or has failed."""
    if not fetch.done() or fetch.cancelled() or fetch.exception() is not None:
        return None
    return fetch.result()


def _merge_texts(texts: Mapping[str, str | None]) -> str:
    families = merge(text for text in texts.values() if text is not None)
    families["memex_metrics_node_up"] = node_family(
        [(address, text is not None) for address, text in texts.items()]
    )
    return render(families)
