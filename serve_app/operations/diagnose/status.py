"""`memex status`: the running service's health and load, with a reason for each unknown figure."""

import asyncio
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import asyncpg

from deployments.domain.errors import MemexError
from deployments.store.postgres.pool import connect
from serve_app.operations.diagnose import figures
from serve_app.operations.http import NoAnswer, get, valid_url
from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.machine.embedded_postgres import EmbeddedPostgres
from serve_app.operations.running import api_url, launcher_pid, serve_details
from serve_app.settings import DATABASE_URL, Settings

_TIMEOUT_S = 5.0
_METRICS_TIMEOUT_S = 15.0
# Counted if that takes milliseconds (less than 64 MiB), otherwise the server's estimate from its
# statistics, which it loses in a crash. Reads no column of the rows.
_MEMORIES = """
select pg_relation_size(oid) < 67108864 as is_exact, case
    when pg_relation_size(oid) < 67108864 then (select count(*) from memories)
    else greatest(pg_stat_get_live_tuples(oid), reltuples::bigint, 0)
end as memories
from pg_class
where oid = to_regclass('memories')
"""
_HAS_TABLE = "select to_regclass('memories') is not null"

Status = dict[str, Any]


def status(settings: Settings, url: str | None, over_s: float, as_json: bool) -> bool:
    """Print the status; whether the service is healthy. Raises InvalidInput for a bad `url`."""
    found = gather(settings, url, over_s)
    print(json.dumps(found, indent=2) if as_json else "\n".join(_lines(found)))
    return bool(found["health"] == "ok")


def gather(settings: Settings, url: str | None, over_s: float) -> Status:
    """The status as `--json` prints it; `unknown` has the reason for each missing figure.

    With a `url`, only what that service reports over HTTP, nothing of this machine. Requests are
    counted for `over_s` seconds.
    """
    base = valid_url(api_url(settings) if url is None else url).rstrip("/")
    unknown: dict[str, str] = {}
    found: Status = {"url": base, **_health(base, unknown)}
    metrics = _metrics(base, over_s, unknown)
    found["deployments"] = _deployments(settings, metrics, url is None, unknown)
    found |= _traffic(metrics, over_s, unknown)
    found |= {"memories": None, "memories_are_exact": None}
    if url is None:
        found |= _memories(settings, unknown)
    else:
        unknown["memories"] = "counted only on the service's own machine, without --url"
    found["last_summariser_run"] = None
    if metrics is not None:
        found["last_summariser_run"] = figures.last_summariser_pass(metrics[1])
    if found["last_summariser_run"] is None:
        unknown["last_summariser_run"] = "no run is in the service's metrics"
    return {**found, "unknown": unknown}


def _health(base: str, unknown: dict[str, str]) -> Status:
    try:
        answer = get(f"{base}/health", {"Host": "localhost"}, _TIMEOUT_S)
    except NoAnswer as error:
        unknown["health"] = f"no answer at {base}: {error}"
        return {"health": None, "version": None}
    problem = answer.problem()
    if problem is not None:
        unknown["health"] = f"{base} answers {problem}"
        return {"health": None, "version": None}
    body = answer.json()
    if not isinstance(body, dict) or "status" not in body:
        unknown["health"] = f"{base} is not memex"
        return {"health": None, "version": None}
    return {"health": body["status"], "version": body.get("version")}


def _metrics(
    base: str, over_s: float, unknown: dict[str, str]
) -> tuple[figures.Samples, figures.Samples] | None:
    """Two scrapes, `over_s` seconds apart."""
    if "health" in unknown:
        unknown["metrics"] = "the service does not answer"
        return None
    try:
        before = _scrape(base)
        if over_s > 0:
            if sys.stderr.isatty():
                print(f"memex: counting requests for {over_s:g} s", file=sys.stderr)
            time.sleep(over_s)
            return before, _scrape(base)
        return before, before
    except (NoAnswer, ValueError) as error:
        unknown["metrics"] = f"{base}/metrics: {error}"
        return None


def _scrape(base: str) -> figures.Samples:
    answer = get(f"{base}/metrics", {"Host": "localhost"}, _METRICS_TIMEOUT_S)
    if answer.status != 200:
        raise NoAnswer(f"status {answer.status}")
    return figures.parsed(answer.body)


def _traffic(
    metrics: tuple[figures.Samples, figures.Samples] | None,
    over_s: float,
    unknown: dict[str, str],
) -> Status:
    found: Status = {"requests_per_s": None, "failures_per_s": None, "p99_s": None}
    reason = unknown.get("metrics", "")
    if metrics is not None and over_s <= 0:
        reason = "requests were not counted; set --over"
    elif metrics is not None:
        requests, failures = (
            count(*metrics) for count in (figures.requests_between, figures.failures_between)
        )
        if requests is not None and failures is not None:
            found["requests_per_s"] = round(requests / over_s, 3)
            found["failures_per_s"] = round(failures / over_s, 3)
            p99_s = figures.p99_s(*metrics)
            if p99_s is not None and not math.isinf(p99_s):
                found["p99_s"] = round(p99_s, 4)
            elif p99_s is not None:
                unknown["p99_s"] = "it is longer than the histogram's largest bound"
            else:
                unknown["p99_s"] = f"no request was counted in {over_s:g} s"
            return found
        reason = f"{figures.REQUESTS} is not in the service's metrics yet"
    return found | _all_unknown(unknown, reason, *found)


def _deployments(
    settings: Settings,
    metrics: tuple[figures.Samples, figures.Samples] | None,
    is_here: bool,
    unknown: dict[str, str],
) -> dict[str, Status]:
    now = {} if metrics is None else metrics[1]
    healthy = figures.healthy_replicas(now)
    replicas = {name: {"replicas": n, "target": None} for name, n in (healthy or {}).items()}
    if is_here:
        replicas = _replicas_by_ray(settings) or replicas
    if not replicas:
        unknown["deployments"] = unknown.get("metrics", "neither Ray nor the metrics list them")
    queued, worked_on = figures.queued(now), figures.worked_on(now)
    if replicas and (queued is None or worked_on is None):
        unknown["queues"] = unknown.get("metrics", "they are not in the service's metrics yet")
    return {
        name: {
            **counts,
            "queued": None if queued is None else queued.get(name, 0),
            "worked_on": None if worked_on is None else worked_on.get(name, 0),
        }
        for name, counts in sorted(replicas.items())
    }


def _replicas_by_ray(settings: Settings) -> dict[str, Status]:
    """The replicas that Ray's dashboard lists; empty if it does not answer us."""
    try:
        details = serve_details(settings).json()
    except NoAnswer:
        return {}
    try:
        return {
            name: {
                "replicas": sum(one["state"] == "RUNNING" for one in deployment["replicas"]),
                "target": deployment.get("target_num_replicas"),
            }
            for application in details["applications"].values()
            for name, deployment in application["deployments"].items()
        }
    except (KeyError, TypeError, AttributeError):  # something else answers there
        return {}


def _memories(settings: Settings, unknown: dict[str, str]) -> Status:
    """The number of all agents' memories."""
    dsn = os.environ.get(DATABASE_URL)
    if not dsn and launcher_pid(settings.data_dir) is None:
        unknown["memories"] = "the embedded Postgres does not run"
        return {}
    try:
        dsn = dsn or EmbeddedPostgres(DataFolder(settings.data_dir)).dsn
        found = asyncio.run(_count_memories(dsn, settings))
    except (MemexError, asyncpg.PostgresError, OSError, TimeoutError) as error:
        is_ours = isinstance(error, MemexError)
        unknown["memories"] = str(error) if is_ours else "the database does not answer"
        return {}
    if not found:
        unknown["memories"] = "the database has no table for them yet"
    return found


async def _count_memories(dsn: str, settings: Settings) -> Status:
    async with asyncio.timeout(_TIMEOUT_S):
        connection = await connect(dsn, settings.db)
        try:
            if not await connection.fetchval(_HAS_TABLE):
                return {}
            row = await connection.fetchrow(_MEMORIES)
            return {"memories": row["memories"], "memories_are_exact": row["is_exact"]}
        finally:
            connection.terminate()


def _all_unknown(unknown: dict[str, str], reason: str, *names: str) -> Status:
    unknown |= dict.fromkeys(names, reason)
    return dict.fromkeys(names)


def _lines(found: Status) -> Iterator[str]:
    unknown = found["unknown"]

    def or_unknown(name: str, text: str) -> str:
        return text if found[name] is not None else f"unknown: {unknown[name]}"

    service = f"{found['health']}, version {found['version']}"
    yield f"service          {or_unknown('health', service)}"
    for name, counts in found["deployments"].items():
        target = "" if counts["target"] is None else f" of {counts['target']}"
        calls = ""
        if counts["queued"] is not None and counts["worked_on"] is not None:
            calls = f", {counts['queued']} calls waiting, {counts['worked_on']} in progress"
        yield f"{name:<16} {counts['replicas']}{target} replicas{calls}"
    for name in ("deployments", "queues"):
        if name in unknown:
            yield f"{name:<16} unknown: {unknown[name]}"
    rate = f"{found['requests_per_s']} requests/s, {found['failures_per_s']} failures/s"
    yield f"traffic          {or_unknown('requests_per_s', rate)}"
    p99 = "" if found["p99_s"] is None else f"{found['p99_s'] * 1_000:.1f} ms"
    yield f"p99              {or_unknown('p99_s', p99)}"
    memories = f"{'' if found['memories_are_exact'] else 'about '}{found['memories']}"
    yield f"memories         {or_unknown('memories', memories)}"
    run = found["last_summariser_run"]
    yield f"summariser       {or_unknown('last_summariser_run', f'last run at {run}')}"
