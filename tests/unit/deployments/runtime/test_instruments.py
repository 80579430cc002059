from collections.abc import Callable

import pytest

from deployments.runtime import metrics


@pytest.mark.parametrize(
    "count",
    [
        lambda: metrics.HttpMetrics(False).answered("GET", "/", 200, 0.1),
        lambda: metrics.HttpMetrics(False).rate_limited("write"),
        lambda: metrics.McpMetrics(False).tool_called("t", True, 0.1),
        lambda: metrics.EdgeMetrics(False).called("store", 1),
        lambda: metrics.EdgeMetrics(False).shed("store"),
        lambda: metrics.EdgeMetrics(False).hit(1),
        lambda: metrics.EdgeMetrics(False).embedding_failed("query", ValueError()),
        lambda: metrics.EmbedderMetrics(False).embedded("query", 0.1),
        lambda: metrics.StoreMetrics(False).pooled(1, 1, 8),
        lambda: metrics.count_cpu(False),
    ],
)
def test_switched_off_nothing_reaches_ray(
    count: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an instrument was made")

    for kind in ("Counter", "Gauge", "Histogram"):
        monkeypatch.setattr(f"ray.serve.metrics.{kind}", refuse)
    count()
