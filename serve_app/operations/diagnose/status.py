"""`memex status`: how the running service does, in a few lines; what is not known says so."""

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
from serve_app.operations.http import NoAnswer, checked, get
from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.machine.embedded_postgres import EmbeddedPostgres
from serve_app.operations.running import api_url, launcher_pid, serve_details
from serve_app.settings import DATABASE_URL, Settings

_TIMEOUT_S = 5.0
_METRICS_TIMEOUT_S = 15.0
# Counted where that takes some milliseconds (64 MB), else the server's own estimate from its
# statistics, which it loses when it crashes. It reads that rows are there, nothing of them.
_MEMORIES = """
select pg_relation_size(oid) < 67108864 as is_exact, case
    when pg_relation_size(oid) < 67108864 then (select count(*) from memories)
    else greatest(pg_stat_get_live_tuples(oid), reltuples::bigint, 0)
end as memories
from pg_class
where oid = to_regclass('memories')
"""
_ARE_THERE = "select to_regclass('memories') is not null"

Status = dict[str, Any]


def status(settings: Settings, url: str | None, over_s: float, as_json: bool) -> bool:
    """Print it. Whether the service answers and is well. Raises InvalidInput for a bad `url`."""
    found = gather(settings, url, over_s)
    print(json.dumps(found, indent=2) if as_json else "\n".join(_lines(found)))
    return bool(found["health"] == "ok")


def gather(settings: Settings, url: str | None, over_s: float) -> Status:
    """With a `url`, what that service tells over HTTP, and nothing of this machine's. Requests are
    counted over `over_s` seconds. `unknown` names what could not be learned, and why."""
    base = checked(api_url(settings) if url is None else url).rstrip("/")
    unknown: dict[str, str] = {}
    found: Status = {"url": base, **_health(base, unknown)}
    metrics = _metrics(base, over_s, unknown)
    found["deployments"] = _deployments(settings, metrics, url is None, unknown)
    found |= _traffic(metrics, over_s, unknown)
    found |= {"memories": None, "memories_are_exact": None}
    if url is None:
        found |= _memories(settings, unknown)
    else:
        unknown["memories"] = "counted on the service's own machine alone, without --url"
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
    told = answer.json()
    if not isinstance(told, dict) or "status" not in told:
        unknown["health"] = f"what answers at {base} is not memex"
        return {"health": None, "version": None}
    return {"health": told["status"], "version": told.get("version")}


def _metrics(
    base: str, over_s: float, unknown: dict[str, str]
) -> tuple[figures.Samples, figures.Samples] | None:
    """Two looks, so far apart."""
    if "health" in unknown:
        unknown["metrics"] = "the service does not answer"
        return None
    try:
        before = _look(base)
        if over_s > 0:
            if sys.stderr.isatty():
                print(f"memex: counting requests for {over_s:g} s", file=sys.stderr)
            time.sleep(over_s)
            return before, _look(base)
        return before, before
    except (NoAnswer, ValueError) as error:
        unknown["metrics"] = f"{base}/metrics: {error}"
        return None


def _look(base: str) -> figures.Samples:
    answer = get(f"{base}/metrics", {"Host": "localhost"}, _METRICS_TIMEOUT_S)
    if answer.status != 200:
        raise NoAnswer(f"is answered with {answer.status}")
    return figures.parsed(answer.body)


def _traffic(
    metrics: tuple[figures.Samples, figures.Samples] | None,
    over_s: float,
    unknown: dict[str, str],
) -> Status:
    found: Status = {"requests_per_s": None, "failures_per_s": None, "p99_s": None}
    reason = unknown.get("metrics", "")
    if metrics is not None and over_s <= 0:
        reason = "nothing was counted; ask with --over"
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
                unknown["p99_s"] = "it is longer than the longest that is told apart"
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
        replicas = _told_by_ray(settings) or replicas
    if not replicas:
        unknown["deployments"] = unknown.get("metrics", "neither Ray nor the metrics tell of them")
    waiting, begun = figures.queued(now), figures.worked_on(now)
    if replicas and (waiting is None or begun is None):
        unknown["queues"] = unknown.get("metrics", "they are not in the service's metrics yet")
    return {
        name: {
            **counts,
            "queued": None if waiting is None else waiting.get(name, 0),
            "worked_on": None if begun is None else begun.get(name, 0),
        }
        for name, counts in sorted(replicas.items())
    }


def _told_by_ray(settings: Settings) -> dict[str, Status]:
    """Empty where its dashboard does not answer us."""
    try:
        told = serve_details(settings).json()
    except NoAnswer:
        return {}
    try:
        return {
            name: {
                "replicas": sum(one["state"] == "RUNNING" for one in deployment["replicas"]),
                "target": deployment.get("target_num_replicas"),
            }
            for application in told["applications"].values()
            for name, deployment in application["deployments"].items()
        }
    except (KeyError, TypeError, AttributeError):  # something else answers there
        return {}


def _memories(settings: Settings, unknown: dict[str, str]) -> Status:
    """How many there are, of all agents."""
    dsn = os.environ.get(DATABASE_URL)
    if not dsn and launcher_pid(settings.data_dir) is None:
        unknown["memories"] = "the embedded Postgres does not run"
        return {}
    try:
        dsn = dsn or EmbeddedPostgres(DataFolder(settings.data_dir)).dsn
        found = asyncio.run(_counted(dsn, settings))
    except (MemexError, asyncpg.PostgresError, OSError, TimeoutError) as error:
        is_ours = isinstance(error, MemexError)
        unknown["memories"] = str(error) if is_ours else "the database does not answer"
        return {}
    if not found:
        unknown["memories"] = "the database has no table of them yet"
    return found


async def _counted(dsn: str, settings: Settings) -> Status:
    async with asyncio.timeout(_TIMEOUT_S):
        connection = await connect(dsn, settings.db)
        try:
            if not await connection.fetchval(_ARE_THERE):
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

    def said(name: str, text: str) -> str:
        return text if found[name] is not None else f"unknown: {unknown[name]}"

    service = f"{found['health']}, version {found['version']}"
    yield f"service          {said('health', service)}"
    for name, told in found["deployments"].items():
        of = "" if told["target"] is None else f" of {told['target']}"
        waits = ""
        if told["queued"] is not None and told["worked_on"] is not None:
            waits = f", {told['queued']} calls wait, {told['worked_on']} are worked on"
        yield f"{name:<16} {told['replicas']}{of} replicas{waits}"
    for name in ("deployments", "queues"):
        if name in unknown:
            yield f"{name:<16} unknown: {unknown[name]}"
    rate = f"{found['requests_per_s']} requests/s, {found['failures_per_s']} failures/s"
    yield f"traffic          {said('requests_per_s', rate)}"
    p99 = "" if found["p99_s"] is None else f"{found['p99_s'] * 1_000:.1f} ms"
    yield f"p99              {said('p99_s', p99)}"
    memories = f"{'' if found['memories_are_exact'] else 'about '}{found['memories']}"
    yield f"memories         {said('memories', memories)}"
    run = found["last_summariser_run"]
    yield f"summariser       {said('last_summariser_run', f'ran last at {run}')}"
