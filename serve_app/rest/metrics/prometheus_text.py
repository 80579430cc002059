"""Extracts memex's and Serve's series from the text of Ray's exporters, in Prometheus's text format
and by promtool's naming rules.

Ray prefixes memex's names with `ray_` and adds labels that are useless here to every series. Serve
abbreviates units and puts `_counter` into the names of its counters. Its milliseconds become
seconds.
"""

import functools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_PREFIXES = ("ray_memex_", "ray_serve_")
_LABEL = re.compile(r'(\w+)=("[^"\\]*(?:\\.[^"\\]*)*")')
_DROPPED_LABELS = {
    "Component",
    "SessionName",
    "Version",
    "otel_scope_name",
    "otel_scope_schema_url",
    "otel_scope_version",
}
_RENAMED_LABELS = {"NodeAddress": "node", "WorkerId": "worker_id"}
_TIME_SUFFIXES = ("", "_sum")  # samples that are times; the others are counts
_MILLISECONDS = re.compile(r"\b(?:milliseconds|ms)\b")


@dataclass
class Family:
    """A metric's samples from all nodes, with one HELP and one TYPE."""

    help: str
    type: str
    samples: list[str] = field(default_factory=list)

    def lines(self, name: str) -> list[str]:
        return [f"# HELP {name} {self.help or name}", f"# TYPE {name} {self.type}", *self.samples]


def merge(expositions: Iterable[str]) -> dict[str, Family]:
    """The families of all nodes, by name."""
    families: dict[str, Family] = {}
    for text in expositions:
        for block in f"\n{text}".split("\n# HELP ")[1:]:
            if block.startswith(_PREFIXES):
                name, family = _parse_family(block)
                merged = families.setdefault(name, Family(family.help, family.type))
                merged.samples += family.samples
    return families


def render(families: dict[str, Family]) -> str:
    return "".join(f"{line}\n" for name, family in families.items() for line in family.lines(name))


def node_family(is_up: Sequence[tuple[str, bool]]) -> Family:
    """The metric that reports which nodes answered; `is_up` has pairs of a node's address and
    whether it did."""
    samples = [f'memex_metrics_node_up{{node="{node}"}} {int(up)}' for node, up in is_up]
    return Family(
        "Whether the node's exporter answered, so that its series are included.", "gauge", samples
    )


def _parse_family(block: str) -> tuple[str, Family]:
    """The name and the family of a block of an exporter's text: name and help, the line with the
    type, the samples. Names, labels and units are corrected."""
    first, _, rest = block.partition("\n")
    type_line, _, samples = rest.partition("\n")
    raw_name, _, text = first.partition(" ")
    kind = type_line.rpartition(" ")[2]
    is_ours = raw_name.startswith(_PREFIXES[0])
    name = raw_name.removeprefix("ray_") if is_ours else _serve_name(raw_name)
    in_ms = raw_name.endswith("_ms")
    lines = []
    for line in filter(None, samples.split("\n")):
        sample_name, brace, rest_of_line = line.partition("{")
        if brace:
            labels, _, value = rest_of_line.rpartition("} ")
        else:
            (sample_name, _, value), labels = line.partition(" "), ""
        suffix = sample_name.removeprefix(raw_name)
        if in_ms and suffix in _TIME_SUFFIXES:
            value = _ms_to_s(value)
        lines.append(f"{name}{suffix}{_labels(labels, is_ours, in_ms)} {value}")
    return name, Family(_MILLISECONDS.sub("seconds", text) if in_ms else text, kind, lines)


@functools.lru_cache(maxsize=20_000)
def _labels(text: str, is_ours: bool, in_ms: bool) -> str:
    """A series' labels with their braces. Cached, because a series always has the same labels."""
    kept = []
    for name, value in _LABEL.findall(text):
        # memex's series have a replica label and do not need the worker.
        if name in _DROPPED_LABELS or (is_ours and name == "WorkerId"):
            continue
        new_value = f'"{_ms_to_s(value[1:-1])}"' if in_ms and name == "le" else value
        kept.append(f"{_RENAMED_LABELS.get(name, name)}={new_value}")
    return f"{{{','.join(kept)}}}" if kept else ""


def _serve_name(name: str) -> str:
    """A name of Serve's with its unit written out."""
    for short, full in (("_ms", "_seconds"), ("_s", "_seconds"), ("_counter_total", "_total")):
        if name.endswith(short):
            return name.removesuffix(short) + full
    return name


@functools.lru_cache(maxsize=1_000)
def _ms_to_s(value: str) -> str:
    number = float(value)
    return value if math.isinf(number) or math.isnan(number) else repr(number / 1_000)
