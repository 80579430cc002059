"""`memex doctor`: checks everything that the service needs, and prints how to fix each failure."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict

from deployments.domain.errors import BadSetting
from deployments.embedder.settings import EmbeddingSettings
from serve_app.operations.diagnose import checks, database_checks
from serve_app.operations.diagnose.checks import Check, results
from serve_app.operations.http import Answer, NoAnswer, get
from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.machine.embedded_postgres import EmbeddedPostgres
from serve_app.operations.running import api_url, dashboard_url, launcher_pid, serve_details
from serve_app.operations.serve import stored_model
from serve_app.settings import DATABASE_URL, Settings, load_settings

_SIGNS = {"ok": "ok", "off": "-", "failed": "FAILED"}


def doctor(as_json: bool) -> bool:
    """Print the checks. Whether none failed; something that merely does not run is no failure."""
    found = list(examine())
    is_well = all(check.state != "failed" for check in found)
    if as_json:
        print(json.dumps({"well": is_well, "checks": [asdict(check) for check in found]}, indent=2))
    else:
        print("\n".join(_lines(found)))
    return is_well


def examine() -> Iterator[Check]:
    """All checks, in the order in which a start needs them."""
    try:
        settings = load_settings()
    except BadSetting as error:
        yield Check("settings", "failed", str(error), "correct it, then run memex doctor again")
        return
    yield Check("settings", "ok", f"profile {settings.profile}")
    pid = launcher_pid(settings.data_dir)
    details = _answer(lambda: serve_details(settings))
    is_running = pid is not None or _has_applications(details)
    yield from results("data folder", lambda: checks.data_folder(settings, pid))
    database = results("Postgres", lambda: _database(settings, pid is not None))
    yield from database
    has_database = database[0].state == "ok"
    yield from results(
        "model", lambda: checks.model(_embedding(settings, has_database), settings.models_dir)
    )
    yield from results("HAProxy", checks.haproxy)
    yield from results("Ray", lambda: checks.ray(details, is_running, dashboard_url(settings)))
    if is_running:
        url = _url(settings, details)
        health = _answer(lambda: get(f"{url}/health", {"Host": "localhost"}))
        yield from results("API", lambda: checks.api(url, health))
        yield from results("deployments", lambda: list(checks.deployments(details, settings)))
    else:
        yield from results("API port", lambda: _port(settings))
        yield from results("dashboard port", lambda: _dashboard_port(settings))
        yield Check("deployments", "off", "memex serve starts them")


def _database(settings: Settings, is_running: bool) -> list[Check]:
    if dsn := os.environ.get(DATABASE_URL):
        return database_checks.connected(dsn, settings, is_embedded=False)
    folder = DataFolder(settings.data_dir)
    if not is_running:
        return database_checks.embedded_and_stopped(folder)
    return database_checks.connected(EmbeddedPostgres(folder).dsn, settings, is_embedded=True)


def _embedding(settings: Settings, has_database: bool) -> EmbeddingSettings:
    """The model that a start uses: the one that is set, otherwise the one of the memories."""
    if stored_model.is_set(settings) or not has_database:
        return settings.embedding
    dsn = os.environ.get(DATABASE_URL) or EmbeddedPostgres(DataFolder(settings.data_dir)).dsn
    stored = database_checks.stored_identity(dsn, settings)
    return settings.embedding if stored is None else stored_model.embedding_settings(stored)


def _port(settings: Settings) -> Check:
    return checks.port("API port", "MEMEX_PORT", settings.host, settings.port)


def _dashboard_port(settings: Settings) -> Check:
    name, variable = "dashboard port", "MEMEX_DASHBOARD_PORT"
    return checks.port(name, variable, "127.0.0.1", settings.dashboard_port)


def _answer(request: Callable[[], Answer]) -> Answer | NoAnswer:
    try:
        return request()
    except NoAnswer as error:
        return error


def _has_applications(details: Answer | NoAnswer) -> bool:
    """Whether Serve runs applications, which the operator's own cluster does without a launcher."""
    if isinstance(details, NoAnswer) or details.status != 200:
        return False
    body = details.json()
    return isinstance(body, dict) and bool(body.get("applications"))


def _url(settings: Settings, details: Answer | NoAnswer) -> str:
    """The API's URL, with Serve's own port: on an operator's own cluster it is not MEMEX_PORT."""
    body = None if isinstance(details, NoAnswer) else details.json()
    try:
        port = int(body["http_options"]["port"])  # type: ignore[index]
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
    yield f"{failed} of {len(found)} checks failed" if failed else "no check failed"
