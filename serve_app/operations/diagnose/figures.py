"""The figures of `memex status`, read from /metrics: from one scrape, or between two."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

REQUESTS = "memex_http_requests_total"
_DURATIONS = "memex_http_request_duration_seconds_bucket"
_QUEUED = "ray_serve_deployment_queued_queries"
_WORKED_ON = "ray_serve_replica_processing_queries"
_HEALTHY = "ray_serve_deployment_replica_healthy"
_SUMMARISED = "memex_summarizer_last_pass_timestamp_seconds"
# Requested by programs, such as this command.
_MONITORING_ROUTES = {"/health", "/health/live", "/health/ready", "/metrics"}

Samples = dict[str, list[Sample]]


def parsed(text: str) -> Samples:
    """The samples by name. Raises ValueError if `text` is not in Prometheus's format."""
    found: Samples = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name].append(sample)
    return found


def queued(now: Samples) -> dict[str, int] | None:
    """By deployment: calls that wait for a replica. None if the metrics lack them."""
    return _by_deployment(now, _QUEUED)


def worked_on(now: Samples) -> dict[str, int] | None:
    """By deployment: calls that replicas work on. None if the metrics lack them."""
    return _by_deployment(now, _WORKED_ON)


def healthy_replicas(now: Samples) -> dict[str, int] | None:
    return _by_deployment(now, _HEALTHY)


def last_summariser_pass(now: Samples) -> str | None:
    """The time of the latest pass of any replica, in ISO 8601."""
    times = [sample.value for sample in now.get(_SUMMARISED, []) if sample.value > 0]
    if not times:
        return None
    return datetime.fromtimestamp(max(times), UTC).isoformat(timespec="seconds")[:-6] + "Z"


def requests_between(before: Samples, now: Samples) -> float | None:
    """The number of requests answered; None if the metrics lack it."""
    if REQUESTS not in now:
        return None
    return sum(_increases(before, now, REQUESTS, _is_of_client).values())


def failures_between(before: Samples, now: Samples) -> float | None:
    """The number of requests answered with 500 or more; None if the metrics lack it."""
    if REQUESTS not in now:
        return None

    def is_failure(labels: Mapping[str, str]) -> bool:
        return _is_of_client(labels) and labels.get("status", "").startswith("5")

    return sum(_increases(before, now, REQUESTS, is_failure).values())


def p99_s(before: Samples, now: Samples) -> float | None:
    """The requests' 99th percentile, as Prometheus's histogram_quantile computes it; infinite if it
    is beyond the largest bound, None if there was no request."""
    counts: dict[float, float] = defaultdict(float)
    for labels, increase in _increases(before, now, _DURATIONS, _is_of_client).items():
        counts[float(dict(labels)["le"])] += increase
    bounds = sorted(counts)
    if not bounds or counts[bounds[-1]] <= 0:
        return None
    rank = 0.99 * counts[bounds[-1]]
    lower, below = 0.0, 0.0
    for bound in bounds:
        if counts[bound] >= rank:
            if math.isinf(bound):
                return math.inf
            return lower + (bound - lower) * (rank - below) / (counts[bound] - below)
        lower, below = bound, counts[bound]
    return None


def _is_of_client(labels: Mapping[str, str]) -> bool:
    return labels.get("route") not in _MONITORING_ROUTES


_Labels = tuple[tuple[str, str], ...]


def _increases(
    before: Samples, now: Samples, name: str, condition: Callable[[Mapping[str, str]], bool]
) -> dict[_Labels, float]:
    """How much each counter rose. One that fell was restarted from 0."""
    earlier = dict(_values(before, name))
    return {
        labels: value - earlier.get(labels, 0.0) if value >= earlier.get(labels, 0.0) else value
        for labels, value in _values(now, name)
        if condition(dict(labels))
    }


def _values(samples: Samples, name: str) -> Iterator[tuple[_Labels, float]]:
    for sample in samples.get(name, []):
        yield tuple(sorted(sample.labels.items())), sample.value


def _by_deployment(now: Samples, name: str) -> dict[str, int] | None:
    if name not in now:
        return None
    found: dict[str, int] = defaultdict(int)
    for sample in now[name]:
        if math.isfinite(sample.value):
            found[sample.labels.get("deployment", "?")] += int(sample.value)
    return dict(found)
