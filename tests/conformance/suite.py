"""One run of the conformance suite, and its outcome."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.conformance.node import HERE, Node

VERSIONS = ("2025-11-25", "2026-07-28")
_SCENARIO = re.compile(r"^=== Running scenario: (\S+) ===$", re.MULTILINE)
_COLOR = re.compile(r"\x1b\[\d*m")
# A line of the suite's final report: a scenario or `scenario:check`, under one of three headings.
_VERDICT = re.compile(r"^  ([~✓✗]) (\S+)$", re.MULTILINE)
_EXPECTED, _STALE, _UNEXPECTED = "~✓✗"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The numbers of a version's scenarios: all, failed as expected, and failed."""

    scenarios: int
    expected: int
    failed: int
    problems: list[str]
    """One line for each difference from the baseline."""


def run_suite(node: Node, url: str, server: str, version: str, scratch: Path) -> Outcome:
    """Run every scenario of a version. The baseline lists the expected failures. Warnings count as
    failures, and so do entries of the baseline that pass."""
    baseline = HERE / f"expected-failures-{server}-{version}.yml"
    results = scratch / f"{server}-{version}"
    run = node.run(
        "conformance", "server", "--url", url, "--suite", "all", "--spec-version", version,
        "--expected-failures", str(baseline), "--output-dir", str(results),
    )  # fmt: skip
    output = _COLOR.sub("", run.stdout)
    scenarios = _SCENARIO.findall(output)
    entries: dict[str, list[str]] = {_EXPECTED: [], _STALE: [], _UNEXPECTED: []}
    for verdict, entry in _VERDICT.findall(output):
        entries[verdict].append(entry)
    problems = [_explanation(entry, results) for entry in entries[_UNEXPECTED]]
    problems += [f"{entry} passes: remove it from {baseline.name}" for entry in entries[_STALE]]
    problems += [
        f"{entry} in {baseline.name} is not a scenario of this version"
        for entry in yaml.safe_load(baseline.read_text())["server"]
        if _scenario(entry) not in scenarios
    ]
    if not scenarios or (run.returncode != 0 and not problems):
        problems.append(f"the suite ended early: {_last_line(run.stderr or output)}")
    failed = {_scenario(entry) for entry in entries[_UNEXPECTED] + entries[_STALE]}
    expected = {_scenario(entry) for entry in entries[_EXPECTED]} - failed
    return Outcome(len(scenarios), len(expected), len(failed), problems)


def _explanation(entry: str, results: Path) -> str:
    scenario, _, check = entry.partition(":")
    for file in results.glob(f"server-{scenario}-2*/checks.json"):
        checks: list[dict[str, Any]] = json.loads(file.read_text())
        for result in checks:
            if result["status"] in ("FAILURE", "WARNING") and check in ("", result["id"]):
                reason = result.get("errorMessage") or result["description"]
                return f"{scenario}:{result['id']} fails: {reason}"
    return f"{entry} fails"


def _scenario(entry: str) -> str:
    return entry.partition(":")[0]


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it printed nothing"])[-1]
