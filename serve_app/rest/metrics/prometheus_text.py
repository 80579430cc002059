"""Of what Ray's exporters say, memex's and Serve's series, in Prometheus's text format as promtool
would have it.

Ray puts `ray_` before memex's names, and labels on every series that tell nothing here. Serve names
units in short and calls its counters counters; its milliseconds become seconds.
"""

import functools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_OURS = ("ray_memex_", "ray_serve_")
_LABEL = re.compile(r'(\w+)=("[^"\\]*(?:\\.[^"\\]*)*")')
_TELL_NOTHING = {
    "Component",
    "SessionName",
    "Version",
    "otel_scope_name",
    "otel_scope_schema_url",
    "otel_scope_version",
}
_RENAMED = {"NodeAddress": "node", "WorkerId": "worker_id"}
_TIMES = ("", "_sum")  # of a series' samples: the others are counts
_MILLISECONDS = re.compile(r"\b(?:milliseconds|ms)\b")


@dataclass
class Family:
    """A metric's samples, with one HELP and one TYPE however many nodes have it."""

    help: str
    type: str
    samples: list[str] = field(default_factory=list)

    def lines(self, name: str) -> list[str]:
        return [f"# HELP {name} {self.help or name}", f"# TYPE {name} {self.type}", *self.samples]


def merged(expositions: Iterable[str]) -> dict[str, Family]:
    """The families of all nodes by name."""
    families: dict[str, Family] = {}
    for text in expositions:
        for block in f"\n{text}".split("\n# HELP ")[1:]:
            if block.startswith(_OURS):
                name, family = _mended(block)
                known = families.setdefault(name, Family(family.help, family.type))
                known.samples += family.samples
    return families


def written(families: dict[str, Family]) -> str:
    return "".join(f"{line}\n" for name, family in families.items() for line in family.lines(name))


def node_family(is_up: Sequence[tuple[str, bool]]) -> Family:
    """Which nodes have answered."""
    samples = [f'memex_metrics_node_up{{node="{node}"}} {int(up)}' for node, up in is_up]
    return Family(
        "Whether a node's exporter has answered, and its series are here.", "gauge", samples
    )


def _mended(block: str) -> tuple[str, Family]:
    """A family as an exporter has it: name and help, a line with the type, the samples."""
    first, _, rest = block.partition("\n")
    type_line, _, samples = rest.partition("\n")
    raw_name, _, text = first.partition(" ")
    kind = type_line.rpartition(" ")[2]
    is_ours = raw_name.startswith(_OURS[0])
    name = raw_name.removeprefix("ray_") if is_ours else _serves_name(raw_name)
    in_ms = raw_name.endswith("_ms")
    lines = []
    for line in filter(None, samples.split("\n")):
        its_name, brace, labelled = line.partition("{")
        if brace:
            labels, _, value = labelled.rpartition("} ")
        else:
            (its_name, _, value), labels = line.partition(" "), ""
        suffix = its_name.removeprefix(raw_name)
        if in_ms and suffix in _TIMES:
            value = _thousandth(value)
        lines.append(f"{name}{suffix}{_labels(labels, is_ours, in_ms)} {value}")
    return name, Family(_MILLISECONDS.sub("seconds", text) if in_ms else text, kind, lines)


@functools.lru_cache(maxsize=20_000)
def _labels(text: str, is_ours: bool, in_ms: bool) -> str:
    """A series' labels, which are the same each time that it is seen, with their braces."""
    kept = []
    for name, value in _LABEL.findall(text):
        # What belongs to memex has its replica, and needs no worker.
        if name in _TELL_NOTHING or (is_ours and name == "WorkerId"):
            continue
        said = f'"{_thousandth(value[1:-1])}"' if in_ms and name == "le" else value
        kept.append(f"{_RENAMED.get(name, name)}={said}")
    return f"{{{','.join(kept)}}}" if kept else ""


def _serves_name(name: str) -> str:
    for short, full in (("_ms", "_seconds"), ("_s", "_seconds"), ("_counter_total", "_total")):
        if name.endswith(short):
            return name.removesuffix(short) + full
    return name


@functools.lru_cache(maxsize=1_000)
def _thousandth(value: str) -> str:
    number = float(value)
    return value if math.isinf(number) or math.isnan(number) else repr(number / 1_000)
