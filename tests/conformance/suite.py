"""One run of the conformance suite, and what came of it."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.conformance.node import HERE, Node

VERSIONS = ("2025-11-25", "2026-07-28")
_RAN = re.compile(r"^=== Running scenario: (\S+) ===$", re.MULTILINE)
_COLOR = re.compile(r"\x1b\[\d*m")
# The suite's last words: a scenario, or `scenario:check`, under one of three headings.
_JUDGED = re.compile(r"^  ([~✓✗]) (\S+)$", re.MULTILINE)
_EXPECTED, _STALE, _UNEXPECTED = "~✓✗"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of the scenarios that there are for a version."""

    ran: int
    expected: int
    failed: int
    problems: list[str]
    """A line for each thing that is not as the baseline has it."""


def run_suite(node: Node, url: str, server: str, version: str, scratch: Path) -> Outcome:
    """Every scenario of a version. What is known to fail stands in the baseline, a warning is a
    failure, and so is an entry of the baseline that passes."""
    baseline = HERE / f"expected-failures-{server}-{version}.yml"
    results = scratch / f"{server}-{version}"
    run = node.run(
        "conformance", "server", "--url", url, "--suite", "all", "--spec-version", version,
        "--expected-failures", str(baseline), "--output-dir", str(results),
    )  # fmt: skip
    said = _COLOR.sub("", run.stdout)
    ran = _RAN.findall(said)
    judged: dict[str, list[str]] = {_EXPECTED: [], _STALE: [], _UNEXPECTED: []}
    for verdict, entry in _JUDGED.findall(said):
        judged[verdict].append(entry)
    problems = [_explained(entry, results) for entry in judged[_UNEXPECTED]]
    problems += [f"{entry} passes now: take it out of {baseline.name}" for entry in judged[_STALE]]
    problems += [
        f"{entry} in {baseline.name} is no scenario of this version"
        for entry in yaml.safe_load(baseline.read_text())["server"]
        if _scenario(entry) not in ran
    ]
    if not ran or (run.returncode != 0 and not problems):
        problems.append(f"the suite has ended: {_last_line(run.stderr or said)}")
    failed = {_scenario(entry) for entry in judged[_UNEXPECTED] + judged[_STALE]}
    expected = {_scenario(entry) for entry in judged[_EXPECTED]} - failed
    return Outcome(len(ran), len(expected), len(failed), problems)


def _explained(entry: str, results: Path) -> str:
    scenario, _, check = entry.partition(":")
    for file in results.glob(f"server-{scenario}-2*/checks.json"):
        checks: list[dict[str, Any]] = json.loads(file.read_text())
        for found in checks:
            if found["status"] in ("FAILURE", "WARNING") and check in ("", found["id"]):
                reason = found.get("errorMessage") or found["description"]
                return f"{scenario}:{found['id']} fails: {reason}"
    return f"{entry} fails"


def _scenario(entry: str) -> str:
    return entry.partition(":")[0]


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]
