"""What each node counts. docs/observability.md has the table of all of it."""

import threading
import time
from typing import Any

from deployments.runtime.instruments import BATCH_SIZE_BUCKETS, Instruments

_RESULT_BUCKETS = [0.5, 1.5, 2.5, 5.5, 10.5, 20.5, 50.5]
_CPU_EVERY_S = 1.0


class HttpMetrics:
    """What an ingress counts. `route` is the template, never the raw path."""

    def __init__(self, on: bool) -> None:
        make = Instruments(on)
        self._requests = make.counter(
            "memex_http_requests_total", "HTTP requests answered.", ("method", "route", "status")
        )
        self._duration = make.histogram(
            "memex_http_request_duration_seconds",
            "Time from a request's arrival to its answer, in seconds.",
            ("method", "route"),
        )
        self._limited = make.counter(
            "memex_rate_limited_total",
            "Calls refused by the rate limit.",
            ("operation",),
            begun=[{"operation": "write"}, {"operation": "search"}],
        )

    def answered(self, method: str, route: str, status: int, duration_s: float) -> None:
        self._requests.inc(1, {"method": method, "route": route, "status": str(status)})
        self._duration.observe(duration_s, {"method": method, "route": route})

    def rate_limited(self, operation: str) -> None:
        self._limited.inc(1, {"operation": operation})


class McpMetrics(HttpMetrics):
    """Over MCP all requests have one route; what they ask for is the tool."""

    def __init__(self, on: bool) -> None:
        super().__init__(on)
        make = Instruments(on)
        self._tool_calls = make.counter(
            "memex_mcp_tool_calls_total",
            "Calls of tools over MCP, by how they ended: ok or error.",
            ("tool", "status"),
        )
        self._tool_duration = make.histogram(
            "memex_mcp_tool_duration_seconds", "Time for a call of a tool, in seconds.", ("tool",)
        )

    def tool_called(self, tool: str, is_error: bool, duration_s: float) -> None:
        self._tool_calls.inc(1, {"tool": tool, "status": "error" if is_error else "ok"})
        self._tool_duration.observe(duration_s, {"tool": tool})


class EdgeMetrics:
    """What an ingress replica counts of its calls to other nodes, and of what they give."""

    def __init__(self, on: bool) -> None:
        make = Instruments(on)
        self._batch_size = make.histogram(
            "memex_coalesced_batch_size",
            "Callers that travelled in one call.",
            ("edge",),
            BATCH_SIZE_BUCKETS,
        )
        self._shed = make.counter(
            "memex_shed_total",
            "Callers refused because too many waited.",
            ("edge",),
            begun=[{"edge": "embedder"}, {"edge": "store"}],
        )
        self._hits = make.counter(
            "memex_embedding_cache_hits_total",
            "Texts whose embedding was in the cache, or under way already.",
            begun=[{}],
        )
        self._misses = make.counter(
            "memex_embedding_cache_misses_total", "Texts that had to be embedded.", begun=[{}]
        )
        self._results = make.histogram(
            "memex_search_results", "Memories that a search found.", buckets=_RESULT_BUCKETS
        )
        self._errors = _embedding_errors(make, "Unavailable")

    def called(self, edge: str, callers: int) -> None:
        self._batch_size.observe(callers, {"edge": edge})

    def shed(self, edge: str) -> None:
        self._shed.inc(1, {"edge": edge})

    def hit(self, texts: int) -> None:
        self._hits.inc(texts)

    def missed(self, texts: int) -> None:
        self._misses.inc(texts)

    def found(self, memories: int) -> None:
        self._results.observe(memories)

    def embedding_failed(self, kind: str, error: Exception) -> None:
        self._errors.inc(1, {"operation": kind, "error_type": type(error).__name__})


class EmbedderMetrics:
    """What an embedder replica counts. An operation is a text's kind: query or passage."""

    def __init__(self, on: bool) -> None:
        make = Instruments(on)
        self._duration = make.histogram(
            "memex_embedding_duration_seconds",
            "Time to embed a batch's texts of one kind, in seconds.",
            ("operation",),
        )
        self._batch_size = make.histogram(
            "memex_embedding_batch_size",
            "Texts embedded in one batch.",
            buckets=BATCH_SIZE_BUCKETS,
        )
        self._tokens = make.counter(
            "memex_embedding_tokens_total", "Tokens that the model has read.", begun=[{}]
        )
        self._errors = _embedding_errors(make, "RuntimeError")

    def batch(self, texts: int) -> None:
        self._batch_size.observe(texts)

    def embedded(self, kind: str, duration_s: float) -> None:
        self._duration.observe(duration_s, {"operation": kind})

    def read(self, tokens: int) -> None:
        if tokens:
            self._tokens.inc(tokens)

    def failed(self, kind: str, error: Exception) -> None:
        self._errors.inc(1, {"operation": kind, "error_type": type(error).__name__})


class StoreMetrics:
    """What a store replica counts."""

    def __init__(self, on: bool) -> None:
        make = Instruments(on)
        self._operations = make.counter(
            "memex_memory_operations_total",
            "Memories stored, searches answered, memories deleted and so on.",
            ("operation",),
            begun=[{"operation": name} for name in ("insert", "search", "update", "delete")],
        )
        self._queries = make.histogram(
            "memex_db_query_duration_seconds",
            "Time for one database statement, in seconds.",
            ("query",),
        )
        self._pool_size = make.gauge("memex_db_pool_size", "Database connections that are open.")
        self._pool_idle = make.gauge(
            "memex_db_pool_idle", "Database connections that are open and not in use."
        )
        self._pool_limit = make.gauge(
            "memex_db_pool_limit", "Database connections that may be open."
        )

    def done(self, operation: str, count: int) -> None:
        if count:
            self._operations.inc(count, {"operation": operation})

    def queried(self, query: str, duration_s: float) -> None:
        self._queries.observe(duration_s, {"query": query})

    def pooled(self, size: int, idle: int, limit: int) -> None:
        self._pool_size.set(size)
        self._pool_idle.set(idle)
        self._pool_limit.set(limit)


class SummariserMetrics:
    """What a summariser replica counts."""

    def __init__(self, on: bool) -> None:
        make = Instruments(on)
        self._runs = make.counter(
            "memex_summarizer_runs_total",
            "Passes of the summariser; error where any scope failed.",
            ("status",),
            begun=[{"status": "success"}, {"status": "error"}],
        )
        self._condensed = make.counter(
            "memex_summarizer_memories_condensed_total",
            "Memories condensed into summaries.",
            begun=[{}],
        )
        self._duration = make.histogram(
            "memex_summarizer_duration_seconds", "Time of one pass, in seconds."
        )
        self._last_pass = make.gauge(
            "memex_summarizer_last_pass_timestamp_seconds",
            "When the last complete pass in the background ended, in Unix time.",
        )
        self._lag = make.gauge(
            "memex_summarizer_lag_seconds",
            "Time since the last complete pass in the background, or since the start, in seconds.",
        )
        self._interval = make.gauge(
            "memex_summarizer_interval_seconds",
            "Time from the end of one pass in the background to the next, in seconds.",
        )

    def ran(self, status: str, duration_s: float) -> None:
        self._runs.inc(1, {"status": status})
        self._duration.observe(duration_s)

    def condensed(self, memories: int) -> None:
        self._condensed.inc(memories)

    def scheduled(self, interval_s: float, lag_s: float, last_pass_s: float | None) -> None:
        """To be told every few seconds: Ray forgets a gauge that is not."""
        self._interval.set(interval_s)
        self._lag.set(lag_s)
        if last_pass_s is not None:
            self._last_pass.set(last_pass_s)


def count_cpu(on: bool) -> None:
    """Begin to count this replica's CPU time. Call it once in a replica."""
    if not on:
        return
    used = Instruments(on).counter(
        "memex_process_cpu_seconds_total", "CPU time of a replica's process, in seconds."
    )

    def count() -> None:
        counted_s = 0.0
        while True:
            now_s = time.process_time()
            if now_s > counted_s:
                used.inc(now_s - counted_s)
            counted_s = now_s
            time.sleep(_CPU_EVERY_S)

    threading.Thread(target=count, name="memex-cpu", daemon=True).start()


def _embedding_errors(make: Instruments, expected: str) -> Any:
    """One name for what fails in the model and for what never reaches it."""
    return make.counter(
        "memex_embedding_errors_total",
        "Calls to embed texts that failed.",
        ("operation", "error_type"),
        begun=[{"operation": kind, "error_type": expected} for kind in ("query", "passage")],
    )
