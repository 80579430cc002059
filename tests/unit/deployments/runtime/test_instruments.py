from collections.abc import Callable

import pytest

from deployments.runtime import metrics


@pytest.mark.parametrize(
    "count",
    [
        lambda: metrics.HttpMetrics(False).count_request("GET", "/", 200, 0.1),
        lambda: metrics.HttpMetrics(False).count_rate_limited("write"),
        lambda: metrics.McpMetrics(False).count_tool_call("t", True, 0.1),
        lambda: metrics.EdgeMetrics(False).observe_batch("store", 1),
        lambda: metrics.EdgeMetrics(False).count_shed("store"),
        lambda: metrics.EdgeMetrics(False).count_hits(1),
        lambda: metrics.EdgeMetrics(False).count_embedding_error("query", ValueError()),
        lambda: metrics.EmbedderMetrics(False).observe_duration("query", 0.1),
        lambda: metrics.StoreMetrics(False).set_pool(1, 1, 8),
        lambda: metrics.count_cpu(False),
    ],
)
def test_switched_off_metrics_create_no_ray_instrument(
    count: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an instrument was created")

    for kind in ("Counter", "Gauge", "Histogram"):
        monkeypatch.setattr(f"ray.serve.metrics.{kind}", refuse)
    count()
