"""`make conformance`: the official conformance suite of MCP, and the Inspector's command line.

The suite runs against the product, and against a server that adds the suite's fixtures to the
product's code. expected-failures-*.yml list the expected failures and their reasons.
"""

import sys
from pathlib import Path

from deployments.domain.errors import MemexError
from loadtest.session import Progress, scratch, stop_by_signal
from tests.conformance import servers
from tests.conformance.inspector import ERAS, Inspector, InspectorFailed
from tests.conformance.node import Node
from tests.conformance.suite import VERSIONS, Outcome, run_suite

_ROW = "{:<9} {:<11} {:>9} {:>7} {:>16} {:>7}"


def main() -> int:
    stop_by_signal()
    try:
        with scratch() as root:
            return _run(root, Progress("conformance"))
    except MemexError as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(root: Path, progress: Progress) -> int:
    node = Node(root / "home")
    outcomes: dict[tuple[str, str], Outcome] = {}
    problems: list[str] = []

    def run_versions(server: str, url: str) -> None:
        for version in VERSIONS:
            progress.log(f"the suite for {version}, against {server}")
            outcome = run_suite(node, url, server, version, root)
            outcomes[server, version] = outcome
            problems.extend(f"{server} {version}: {problem}" for problem in outcome.problems)

    with servers.with_fixtures(root) as url:
        run_versions("fixtures", url)
    progress.log("starting memex serve")
    with servers.product(root) as url:
        run_versions("product", url)
        progress.log("the Inspector, against product")
        requests = 0
        for era in ERAS:
            inspector = Inspector(node, url, era)
            try:
                inspector.run()
            except InspectorFailed as error:
                problems.append(f"inspector: {error}")
            requests += inspector.requests
        progress.log("stopping memex serve")
    _print_table(outcomes)
    print(f"inspector: {requests} requests passed, including tools/list --strict")
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def _print_table(outcomes: dict[tuple[str, str], Outcome]) -> None:
    print(_ROW.format("server", "version", "scenarios", "passed", "expected to fail", "failed"))
    for (server, version), outcome in outcomes.items():
        passed = outcome.scenarios - outcome.expected - outcome.failed
        numbers = (outcome.scenarios, passed, outcome.expected, outcome.failed)
        print(_ROW.format(server, version, *numbers))


if __name__ == "__main__":
    sys.exit(main())
