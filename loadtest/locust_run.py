"""Locust's load on the service: users who think between requests, then users who do not.

    make loadtest
    make loadtest ARGS="--duration-s 60 --realistic-users 30"
    make loadtest ARGS="--url http://127.0.0.1:8000"

Starts its own `memex serve` with rate limits off, unless --url names a running one. Prints the
table at the end; Locust's reports (HTML and CSV) stay below results/. The exit code is 1 if any
request failed or none was answered.
"""

import argparse
import contextlib
import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

from deployments.domain.errors import MemexError, StartupError
from loadtest import programs
from loadtest.session import RESULTS, Progress, scratch, stop_by_signal
from serve_app.operations.http import NoAnswer, get
from serve_app.operations.machine import processes
from serve_app.settings import ROOT

_LOCUSTFILE = Path(__file__).with_name("locustfile.py")
_PATIENCE_S = 180.0  # for seeding, and for outstanding answers at the end
_SHOWN_FAILURES = 5
_ALL = "Aggregated"  # Locust's name for the row of all routes


@dataclass(frozen=True, slots=True)
class Load:
    """One run of Locust."""

    name: str
    user_class: str
    users: int


@dataclass(frozen=True, slots=True)
class Route:
    """Locust's counts for one route or for all together; times in ms."""

    name: str
    requests: int
    failures: int
    per_s: float
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Outcome:
    load: Load
    routes: Sequence[Route]
    failures: Sequence[str]
    exit_code: int

    @property
    def is_good(self) -> bool:
        """Whether requests were answered and none failed."""
        everything = self.routes[-1]
        return self.exit_code == 0 and everything.requests > 0 and everything.failures == 0


def measure(url: str, load: Load, duration_s: int, prefix: Path) -> Outcome:
    """Run Locust; its reports' names begin with `prefix`. Raises StartupError if it measures
    nothing or does not end."""
    log = prefix.with_name(f"{prefix.name}.log")
    command = _command(url, load, duration_s, prefix)
    with _running(command, log) as process:
        try:
            exit_code = process.wait(duration_s + _PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise StartupError(f"locust did not end; see {log}") from None
    stats = prefix.with_name(f"{prefix.name}_stats.csv")
    routes = read_routes(stats.read_text(encoding="utf-8")) if stats.exists() else []
    if not routes:
        lines = log.read_text(errors="replace").splitlines()
        errors = [line for line in lines if "/ERROR/" in line]
        cause = errors[-1].partition(": ")[2] if errors else f"see {log}"
        raise StartupError(f"locust measured nothing: {cause}")
    failures = prefix.with_name(f"{prefix.name}_failures.csv")
    return Outcome(load, routes, read_failures(failures.read_text(encoding="utf-8")), exit_code)


def _command(url: str, load: Load, duration_s: int, prefix: Path) -> list[str]:
    return [
        sys.executable, "-m", "locust",
        "--locustfile", str(_LOCUSTFILE),
        "--host", url,
        "--headless", "--only-summary",
        "--users", str(load.users),
        "--spawn-rate", str(min(load.users, 100)),  # Locust warns of higher rates
        "--load-time-s", str(duration_s),
        "--stop-timeout", "30",  # for outstanding answers
        "--html", f"{prefix}.html",
        "--csv", str(prefix),
        load.user_class,
    ]  # fmt: skip


@contextlib.contextmanager
def _running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Locust's process, ended with the block. A separate process, because Locust replaces parts of
    the standard library."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LOCUST_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment,
            start_new_session=True,  # shields it from the terminal's Ctrl-C
            preexec_fn=lambda: processes.die_with_parent(signal.SIGKILL),
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def read_routes(stats: str) -> list[Route]:
    """The rows of Locust's CSV: each route, then all together. Empty if nothing was requested."""
    rows = list(csv.DictReader(stats.splitlines()))
    return [
        Route(
            name="all" if row["Name"] == _ALL else f"{row['Type']} {row['Name']}",
            requests=int(row["Request Count"]),
            failures=int(row["Failure Count"]),
            per_s=float(row["Requests/s"]),
            p50=float(row["50%"]),
            p95=float(row["95%"]),
            p99=float(row["99%"]),
        )
        for row in rows
        if int(row["Request Count"]) > 0
    ]


def read_failures(failures: str) -> list[str]:
    """The failures in Locust's CSV, the most frequent first."""
    rows = list(csv.DictReader(failures.splitlines()))
    rows.sort(key=lambda row: int(row["Occurrences"]), reverse=True)
    return [f"{row['Occurrences']}x {row['Method']} {row['Name']}: {row['Error']}" for row in rows]


def table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield (
        f"{'load':<12}{'users':>6}  {'route':<26}{'requests':>9}{'RPS':>8}"
        f"{'p50':>7}{'p95':>7}{'p99':>7}{'failures':>10}"
    )
    for outcome in outcomes:
        for route in outcome.routes:
            yield (
                f"{outcome.load.name:<12}{outcome.load.users:>6}  {route.name:<26}"
                f"{route.requests:>9}{route.per_s:>8.1f}"
                f"{route.p50:>7.0f}{route.p95:>7.0f}{route.p99:>7.0f}{route.failures:>10}"
            )
        for failure in outcome.failures[:_SHOWN_FAILURES]:
            yield f"{'':<20}{failure}"


@contextlib.contextmanager
def _service(url: str | None, progress: Progress) -> Iterator[str]:
    if url is not None:
        _check_health(url)
        progress.log(f"{url}: requests that its rate limits refuse count as failures")
        yield url
        return
    progress.log("starting memex serve, rate limits off")
    with scratch() as root, programs.service(root / "memex", {}) as (own_url, _pid):
        yield own_url


def _check_health(url: str) -> None:
    try:
        answer = get(f"{url}/health", timeout_s=10)
    except NoAnswer as error:
        raise StartupError(f"--url: {url} does not answer: {error}") from None
    if answer.status != HTTPStatus.OK:
        raise StartupError(f"--url: {url} answers {answer.status}")


def _run(arguments: argparse.Namespace) -> bool:
    loads = (
        Load("realistic", "RealisticUser", arguments.realistic_users),
        Load("saturation", "SaturationUser", arguments.saturation_users),
    )
    progress = Progress("loadtest")
    RESULTS.mkdir(exist_ok=True)
    reports = RESULTS / f"locust-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    outcomes = []
    with _service(arguments.url, progress) as url:
        for load in loads:
            progress.log(f"{load.name}: {load.users} users, {arguments.duration_s} s")
            prefix = reports.with_name(f"{reports.name}-{load.name}")
            outcomes.append(measure(url, load, arguments.duration_s, prefix))
    print(*table(outcomes), sep="\n")
    print(f"\nreports: {reports}-*.html and *.csv")
    return all(outcome.is_good for outcome in outcomes)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make loadtest", description=__doc__.split("\n")[0])
    parser.add_argument("--url", help="URL of a running service (default: start one)")
    for option, default, text in (
        ("--duration-s", 30, "seconds of each load"),
        ("--realistic-users", 20, "users who think 100 to 300 ms between requests"),
        ("--saturation-users", 64, "users who do not"),
    ):
        parser.add_argument(option, type=int, default=default, help=f"{text} (default: {default})")
    arguments = parser.parse_args()
    for option in ("duration_s", "realistic_users", "saturation_users"):
        if getattr(arguments, option) < 1:
            parser.error(f"--{option.replace('_', '-')} must be 1 or more")
    if arguments.url is not None:
        arguments.url = arguments.url.rstrip("/")
    return arguments


def main() -> int:
    arguments = _arguments()
    stop_by_signal()
    try:
        is_good = _run(arguments)
    except MemexError as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("loadtest: stopped", file=sys.stderr)
        return 130
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
