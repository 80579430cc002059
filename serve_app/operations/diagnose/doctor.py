"""`memex doctor`: looks at all that the service needs, and says what to do where it is not well."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict

from deployments.domain.errors import BadSetting
from deployments.embedder.settings import EmbeddingSettings
from serve_app.operations.diagnose import checks, database_checks
from serve_app.operations.diagnose.checks import Check, looked
from serve_app.operations.http import Answer, NoAnswer, get
from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.machine.embedded_postgres import EmbeddedPostgres
from serve_app.operations.running import api_url, dashboard_url, launcher_pid, serve_details
from serve_app.operations.serve import stored_model
from serve_app.settings import DATABASE_URL, Settings, load_settings

_SIGNS = {"ok": "ok", "off": "-", "failed": "FAILED"}


def doctor(as_json: bool) -> bool:
    """Print what was found. Whether all is well; what merely does not run is."""
    found = list(examine())
    well = all(check.state != "failed" for check in found)
    if as_json:
        print(json.dumps({"well": well, "checks": [asdict(check) for check in found]}, indent=2))
    else:
        print("\n".join(_lines(found)))
    return well


def examine() -> Iterator[Check]:
    """All checks, in the order in which a start needs them."""
    try:
        settings = load_settings()
    except BadSetting as error:
        yield Check("settings", "failed", str(error), "correct it, then run this again")
        return
    yield Check("settings", "ok", f"profile {settings.profile}")
    pid = launcher_pid(settings.data_dir)
    details = _asked(lambda: serve_details(settings))
    is_running = pid is not None or _is_serve(details)
    yield from looked("data folder", lambda: checks.data_folder(settings, pid))
    database = looked("Postgres", lambda: _database(settings, pid is not None))
    yield from database
    tells = database[0].state == "ok"
    yield from looked(
        "model", lambda: checks.model(_embedding(settings, tells), settings.models_dir)
    )
    yield from looked("HAProxy", checks.haproxy)
    yield from looked("Ray", lambda: checks.ray(details, is_running, dashboard_url(settings)))
    if is_running:
        url = _url(settings, details)
        health = _asked(lambda: get(f"{url}/health", {"Host": "localhost"}))
        yield from looked("API", lambda: checks.api(url, health))
        yield from looked("deployments", lambda: list(checks.deployments(details, settings)))
    else:
        yield from looked("API port", lambda: _port(settings))
        yield from looked("dashboard port", lambda: _dashboard_port(settings))
        yield Check("deployments", "off", "memex serve starts them")


def _database(settings: Settings, is_running: bool) -> list[Check]:
    if dsn := os.environ.get(DATABASE_URL):
        return database_checks.connected(dsn, settings, is_embedded=False)
    folder = DataFolder(settings.data_dir)
    if not is_running:
        return database_checks.embedded_and_stopped(folder)
    return database_checks.connected(EmbeddedPostgres(folder).dsn, settings, is_embedded=True)


def _embedding(settings: Settings, database_tells: bool) -> EmbeddingSettings:
    """The model that a start takes: the one set, or else the one that the memories have."""
    if stored_model.is_set(settings) or not database_tells:
        return settings.embedding
    dsn = os.environ.get(DATABASE_URL) or EmbeddedPostgres(DataFolder(settings.data_dir)).dsn
    stored = database_checks.embedded_with(dsn, settings)
    return settings.embedding if stored is None else stored_model.of(stored)


def _port(settings: Settings) -> Check:
    return checks.port("API port", "MEMEX_PORT", settings.host, settings.port)


def _dashboard_port(settings: Settings) -> Check:
    name, variable = "dashboard port", "MEMEX_DASHBOARD_PORT"
    return checks.port(name, variable, "127.0.0.1", settings.dashboard_port)


def _asked(ask: Callable[[], Answer]) -> Answer | NoAnswer:
    try:
        return ask()
    except NoAnswer as error:
        return error


def _is_serve(details: Answer | NoAnswer) -> bool:
    """Whether a cluster of the operator's own runs the graph."""
    if isinstance(details, NoAnswer) or details.status != 200:
        return False
    told = details.json()
    return isinstance(told, dict) and bool(told.get("applications"))


def _url(settings: Settings, details: Answer | NoAnswer) -> str:
    """The port that Serve says: on a cluster of one's own it is not MEMEX_PORT."""
    told = None if isinstance(details, NoAnswer) else details.json()
    try:
        port = int(told["http_options"]["port"])  # type: ignore[index]
    except (TypeError, KeyError, ValueError):
        port = settings.port
    return api_url(settings.model_copy(update={"port": port}))


def _lines(found: list[Check]) -> Iterator[str]:
    width = max(len(check.name) for check in found)
    for check in found:
        yield f"  {_SIGNS[check.state]:<6}  {check.name:<{width}}  {check.found}"
        if check.state == "failed" and check.todo:
            yield f"          {'':<{width}}  → {check.todo}"
    failed = sum(check.state == "failed" for check in found)
    yield f"{failed} of {len(found)} checks failed" if failed else "all is well"
