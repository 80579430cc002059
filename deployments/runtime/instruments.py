"""Counters, histograms and gauges of Ray's metrics. Ray tags them with application, deployment and
replica, and exports them on every node. Make them in a replica's `__init__`, never at import."""

from collections.abc import Mapping, Sequence
from typing import Any

Labels = Mapping[str, str]

DURATION_BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]
# Bounds lie between whole numbers: the exporter adds an observation to the sum as the middle of its
# bucket, which is then the mean of the whole numbers in it.
BATCH_SIZE_BUCKETS = [0.5, 1.5, 2.5, 4.5, 8.5, 16.5, 32.5, 64.5, 128.5, 256.5]


class Instruments:
    """Makes a replica's instruments; if metrics are off, they do nothing.

    An increment costs about 4 µs; an observation costs as much, and twice that in Ray's exporter,
    which handles observations one by one. So observe calls and batches, not the items in them.
    """

    def __init__(self, on: bool) -> None:
        self._ray: Any = None
        if on:
            from ray.serve import metrics  # slow to import, and nodes are imported without it

            self._ray = metrics

    def counter(
        self,
        name: str,
        description: str,
        labels: Sequence[str] = (),
        initial_labels: Sequence[Labels] = (),
    ) -> Any:
        """A counter with a series at 0 for each of `initial_labels`: a rate does not see the
        increment that creates a series."""
        if self._ray is None:
            return _Off()
        counter = self._ray.Counter(name, description=description, tag_keys=tuple(labels))
        for values in initial_labels:
            counter._record(0, dict(values))  # inc() rejects 0
        return counter

    def histogram(
        self,
        name: str,
        description: str,
        labels: Sequence[str] = (),
        buckets: Sequence[float] = tuple(DURATION_BUCKETS_S),
    ) -> Any:
        if self._ray is None:
            return _Off()
        return self._ray.Histogram(
            name, description=description, boundaries=list(buckets), tag_keys=tuple(labels)
        )

    def gauge(self, name: str, description: str, labels: Sequence[str] = ()) -> Any:
        if self._ray is None:
            return _Off()
        return self._ray.Gauge(name, description=description, tag_keys=tuple(labels))


class _Off:
    """Stands in for any instrument."""

    def inc(self, _value: float, _labels: Labels | None = None) -> None: ...

    def observe(self, _value: float, _labels: Labels | None = None) -> None: ...

    def set(self, _value: float, _labels: Labels | None = None) -> None: ...
