"""The metrics of each node; docs/reference/metrics.md has a table of all of them."""

import threading
import time
from typing import Any

from deployments.runtime.instruments import BATCH_SIZE_BUCKETS, Instruments

_RESULT_BUCKETS = [0.5, 1.5, 2.5, 5.5, 10.5, 20.5, 50.5]
_CPU_INTERVAL_S = 1.0


class HttpMetrics:
    """The metrics of an ingress replica. `route` is the template, never the raw path."""

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
            initial_labels=[{"operation": "write"}, {"operation": "search"}],
        )

    def count_request(self, method: str, route: str, status: int, duration_s: float) -> None:
        self._requests.inc(1, {"method": method, "route": route, "status": str(status)})
        self._duration.observe(duration_s, {"method": method, "route": route})

    def count_rate_limited(self, operation: str) -> None:
        self._limited.inc(1, {"operation": operation})


class McpMetrics(HttpMetrics):
    """The metrics of an MCP ingress replica. All requests have one route; calls differ by tool."""

    def __init__(self, on: bool) -> None:
        super().__init__(on)
        make = Instruments(on)
        self._tool_calls = make.counter(
            "memex_mcp_tool_calls_total",
            "Calls of tools over MCP, by result: ok or error.",
            ("tool", "status"),
        )
        self._tool_duration = make.histogram(
            "memex_mcp_tool_duration_seconds", "Time for a call of a tool, in seconds.", ("tool",)
        )

    def count_tool_call(self, tool: str, is_error: bool, duration_s: float) -> None:
        self._tool_calls.inc(1, {"tool": tool, "status": "error" if is_error else "ok"})
        self._tool_duration.observe(duration_s, {"tool": tool})


class EdgeMetrics:
    """The metrics of an ingress replica's calls to other nodes, and of their results."""

    def __init__(self, on: bool) -> None:
        make = Instruments(on)
        self._batch_size = make.histogram(
            "memex_coalesced_batch_size",
            "Callers that shared one call.",
            ("edge",),
            BATCH_SIZE_BUCKETS,
        )
        self._shed = make.counter(
            "memex_shed_total",
            "Callers refused because too many waited.",
            ("edge",),
            initial_labels=[{"edge": "embedder"}, {"edge": "store"}],
        )
        self._hits = make.counter(
            "memex_embedding_cache_hits_total",
            "Texts whose embedding was in the cache or already being computed.",
            initial_labels=[{}],
        )
        self._misses = make.counter(
            "memex_embedding_cache_misses_total",
            "Texts that had to be embedded.",
            initial_labels=[{}],
        )
        self._results = make.histogram(
            "memex_search_results", "Memories that a search found.", buckets=_RESULT_BUCKETS
        )
        self._errors = _embedding_errors(make, "Unavailable")

    def observe_batch(self, edge: str, callers: int) -> None:
        self._batch_size.observe(callers, {"edge": edge})

    def count_shed(self, edge: str) -> None:
        self._shed.inc(1, {"edge": edge})

    def count_hits(self, texts: int) -> None:
        self._hits.inc(texts)

    def count_misses(self, texts: int) -> None:
        self._misses.inc(texts)

    def observe_results(self, memories: int) -> None:
        self._results.observe(memories)

    def count_embedding_error(self, kind: str, error: Exception) -> None:
        self._errors.inc(1, {"operation": kind, "error_type": type(error).__name__})


class EmbedderMetrics:
    """The metrics of an embedder replica. `operation` is the texts' kind: query or passage."""

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
            "memex_embedding_tokens_total", "Tokens that the model has read.", initial_labels=[{}]
        )
        self._errors = _embedding_errors(make, "RuntimeError")

    def observe_batch(self, texts: int) -> None:
        self._batch_size.observe(texts)

    def observe_duration(self, kind: str, duration_s: float) -> None:
        self._duration.observe(duration_s, {"operation": kind})

    def count_tokens(self, tokens: int) -> None:
        if tokens:
            self._tokens.inc(tokens)

    def count_error(self, kind: str, error: Exception) -> None:
        self._errors.inc(1, {"operation": kind, "error_type": type(error).__name__})


class StoreMetrics:
    """The metrics of a store replica."""

    def __init__(self, on: bool) -> None:
        make = Instruments(on)
        self._operations = make.counter(
            "memex_memory_operations_total",
            "Memories stored, searches answered, memories deleted and so on.",
            ("operation",),
            initial_labels=[
                {"operation": name} for name in ("insert", "search", "update", "delete")
            ],
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

    def count(self, operation: str, times: int) -> None:
        if times:
            self._operations.inc(times, {"operation": operation})

    def observe_query(self, query: str, duration_s: float) -> None:
        self._queries.observe(duration_s, {"query": query})

    def set_pool(self, size: int, idle: int, limit: int) -> None:
        self._pool_size.set(size)
        self._pool_idle.set(idle)
        self._pool_limit.set(limit)


class SummariserMetrics:
    """The metrics of a summariser replica."""

    def __init__(self, on: bool) -> None:
        make = Instruments(on)
        self._runs = make.counter(
            "memex_summarizer_runs_total",
            "Passes of the summariser; error if any scope failed.",
            ("status",),
            initial_labels=[{"status": "success"}, {"status": "error"}],
        )
        self._condensed = make.counter(
            "memex_summarizer_memories_condensed_total",
            "Memories condensed into summaries.",
            initial_labels=[{}],
        )
        self._duration = make.histogram(
            "memex_summarizer_duration_seconds", "Time of one pass, in seconds."
        )
        self._last_pass = make.gauge(
            "memex_summarizer_last_pass_timestamp_seconds",
            "When the last complete background pass ended, in Unix time.",
        )
        self._lag = make.gauge(
            "memex_summarizer_lag_seconds",
            "Time since the last complete background pass, or since the start, in seconds.",
        )
        self._interval = make.gauge(
            "memex_summarizer_interval_seconds",
            "Time from the end of one background pass to the next, in seconds.",
        )

    def count_pass(self, status: str, duration_s: float) -> None:
        self._runs.inc(1, {"status": status})
        self._duration.observe(duration_s)

    def count_condensed(self, memories: int) -> None:
        self._condensed.inc(memories)

    def set_schedule(self, interval_s: float, lag_s: float, last_pass_s: float | None) -> None:
        """Call it every few seconds, because Ray drops gauges that are not set again."""
        self._interval.set(interval_s)
        self._lag.set(lag_s)
        if last_pass_s is not None:
            self._last_pass.set(last_pass_s)


def count_cpu(on: bool) -> None:
    """Count this replica's CPU time in a thread. Call it once in a replica."""
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
            time.sleep(_CPU_INTERVAL_S)

    threading.Thread(target=count, name="memex-cpu", daemon=True).start()


def _embedding_errors(make: Instruments, expected: str) -> Any:
    """One counter for texts that fail in the model and for texts that never reach it."""
    return make.counter(
        "memex_embedding_errors_total",
        "Calls to embed texts that failed.",
        ("operation", "error_type"),
        initial_labels=[
            {"operation": kind, "error_type": expected} for kind in ("query", "passage")
        ],
    )
