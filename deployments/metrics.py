"""The instruments, through Ray's metrics: tagged by application, deployment and replica, exported
by every node, seen by whatever scrapes Ray. Made in a replica's `__init__`, never at import."""

import asyncio
import re
import time
from collections.abc import Iterable, Sequence

import aiohttp
import ray
from ray.serve.metrics import Counter, Gauge, Histogram

DURATION_BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]
BATCH_SIZE_BUCKETS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]

_NODE_TIMEOUT_S = 2.0
_OURS = re.compile(r"^(?:# (?:HELP|TYPE) )?ray_(?:memex|serve)_")


class HttpMetrics:
    """What the ingress counts. `route` is the template, never the raw path."""

    def __init__(self) -> None:
        self._requests = Counter(
            "memex_http_requests_total",
            description="HTTP requests answered.",
            tag_keys=("method", "route", "status"),
        )
        self._duration = Histogram(
            "memex_http_request_duration_seconds",
            description="Time from a request's arrival to its answer, in seconds.",
            boundaries=DURATION_BUCKETS_S,
            tag_keys=("method", "route"),
        )
        self._limited = Counter(
            "memex_rate_limited_total",
            description="Calls refused by the rate limit.",
            tag_keys=("operation",),
        )

    def answered(self, method: str, route: str, status: int, duration_s: float) -> None:
        self._requests.inc(1, {"method": method, "route": route, "status": str(status)})
        self._duration.observe(duration_s, {"method": method, "route": route})

    def rate_limited(self, operation: str) -> None:
        self._limited.inc(1, {"operation": operation})


class EdgeMetrics:
    """What an ingress replica counts of its calls to other nodes."""

    def __init__(self) -> None:
        self._batch_size = Histogram(
            "memex_coalesced_batch_size",
            description="Callers that travelled in one call.",
            boundaries=BATCH_SIZE_BUCKETS,
            tag_keys=("edge",),
        )
        self._shed = Counter(
            "memex_shed_total",
            description="Callers refused because too many waited.",
            tag_keys=("edge",),
        )
        self._hits = Counter(
            "memex_embedding_cache_hits_total",
            description="Texts whose embedding was in the cache, or under way already.",
        )
        self._misses = Counter(
            "memex_embedding_cache_misses_total", description="Texts that had to be embedded."
        )

    def called(self, edge: str, callers: int) -> None:
        self._batch_size.observe(callers, {"edge": edge})

    def shed(self, edge: str) -> None:
        self._shed.inc(1, {"edge": edge})

    def hit(self, texts: int) -> None:
        self._hits.inc(texts)

    def missed(self, texts: int) -> None:
        self._misses.inc(texts)


class EmbedderMetrics:
    """What an embedder replica counts."""

    def __init__(self) -> None:
        self._duration = Histogram(
            "memex_embedding_duration_seconds",
            description="Time to embed one batch, in seconds.",
            boundaries=DURATION_BUCKETS_S,
        )
        self._batch_size = Histogram(
            "memex_embedding_batch_size",
            description="Texts embedded in one batch.",
            boundaries=BATCH_SIZE_BUCKETS,
        )

    def embedded(self, texts: int, duration_s: float) -> None:
        self._duration.observe(duration_s)
        self._batch_size.observe(texts)


class StoreMetrics:
    """What a store replica counts."""

    def __init__(self) -> None:
        self._operations = Counter(
            "memex_memory_operations_total",
            description="Memories stored, searches answered, memories deleted and so on.",
            tag_keys=("operation",),
        )

    def done(self, operation: str, count: int) -> None:
        if count:
            self._operations.inc(count, {"operation": operation})


class SummariserMetrics:
    """What a summariser replica counts."""

    def __init__(self) -> None:
        self._runs = Counter(
            "memex_summarizer_runs_total",
            description="Passes over all scopes: success, or error where any scope failed.",
            tag_keys=("status",),
        )
        self._condensed = Counter(
            "memex_summarizer_memories_condensed_total",
            description="Memories condensed into summaries.",
        )
        self._duration = Histogram(
            "memex_summarizer_duration_seconds",
            description="Time of one pass, in seconds.",
            boundaries=[*DURATION_BUCKETS_S, 30.0, 60.0, 300.0],
        )
        self._last_pass = Gauge(
            "memex_summarizer_last_pass_timestamp_seconds",
            description="When the last complete pass in the background ended, in Unix time.",
        )
        self._lag = Gauge(
            "memex_summarizer_lag_seconds",
            description="Time since the last complete pass in the background, in seconds.",
        )

    def ran(self, status: str, duration_s: float) -> None:
        self._runs.inc(1, {"status": status})
        self._duration.observe(duration_s)

    def condensed(self, memories: int) -> None:
        self._condensed.inc(memories)

    def passed(self) -> None:
        self._last_pass.set(time.time())

    def lags(self, seconds: float) -> None:
        self._lag.set(seconds)


async def exposition() -> str:
    """Every node's memex and Serve series, in Prometheus's text format.

    A node that does not answer in time is named in a comment line, not waited for.
    """
    every = await asyncio.to_thread(ray.nodes)
    nodes = [node for node in every if node["Alive"] and node["MetricsExportPort"]]
    urls = [f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}" for node in nodes]
    timeout = aiohttp.ClientTimeout(total=_NODE_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        texts = await asyncio.gather(*(_scrape(session, url) for url in urls))
    answered = [text for text in texts if text is not None]
    lines = [f"# {len(urls) - len(answered)} of {len(urls)} nodes did not answer"]
    return "\n".join([*(lines if len(answered) < len(urls) else []), *merge(answered)]) + "\n"


async def _scrape(session: aiohttp.ClientSession, url: str) -> str | None:
    try:
        async with session.get(f"{url}/metrics") as response:
            response.raise_for_status()
            return await response.text()
    except (aiohttp.ClientError, TimeoutError):
        return None


def merge(expositions: Sequence[str]) -> list[str]:
    """The lines of memex's and Serve's series, without Ray's `ray_` before memex's names.

    A family's HELP and TYPE are kept once and its samples brought together, as the format wants.
    """
    headers: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for text in expositions:
        family = ""
        for line in _ours(text.splitlines()):
            if line.startswith("# HELP "):
                family = line.split(" ", 3)[2]
                samples.setdefault(family, [])
            if line.startswith("#"):
                known = headers.setdefault(family, [])
                if line not in known and len(known) < 2:
                    known.append(line)
            else:
                samples.setdefault(family, []).append(line)
    return [
        line for family, found in samples.items() for line in [*headers.get(family, []), *found]
    ]


def _ours(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        if _OURS.match(line):
            yield line.replace("ray_memex_", "memex_", 1)
