"""Counters, histograms and gauges of Ray's metrics: tagged by application, deployment and replica,
exported by every node, seen by whatever scrapes Ray. Made in a replica's `__init__`, never at
import."""

from collections.abc import Mapping, Sequence
from typing import Any

Labels = Mapping[str, str]

DURATION_BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]
# Between whole numbers: the exporter takes an observation for the middle of its bucket, which is
# then the mean of what the bucket can hold.
BATCH_SIZE_BUCKETS = [0.5, 1.5, 2.5, 4.5, 8.5, 16.5, 32.5, 64.5, 128.5, 256.5]


class Instruments:
    """Makes a replica's instruments; where they are switched off, such as do nothing.

    An increment costs some 4 µs, an observation as much and twice that again in Ray's exporter,
    which takes them one by one: observe calls and batches rather than what is in them.
    """

    def __init__(self, on: bool) -> None:
        self._ray: Any = None
        if on:
            from ray.serve import metrics  # takes long, and nodes are imported without it

            self._ray = metrics

    def counter(
        self, name: str, description: str, labels: Sequence[str] = (), begun: Sequence[Labels] = ()
    ) -> Any:
        """`begun` are label values of which there is a series before anything is counted: a rate
        does not see what brings a series into being."""
        if self._ray is None:
            return _Off()
        counter = self._ray.Counter(name, description=description, tag_keys=tuple(labels))
        for values in begun:
            counter._record(0, dict(values))  # inc() takes no 0
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
    """In the place of any instrument."""

    def inc(self, _value: float, _labels: Labels | None = None) -> None: ...

    def observe(self, _value: float, _labels: Labels | None = None) -> None: ...

    def set(self, _value: float, _labels: Labels | None = None) -> None: ...
