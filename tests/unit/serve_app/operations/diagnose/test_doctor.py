"""`memex doctor`: what each check reports, and the printed report."""

import fcntl
import json
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from deployments.domain.errors import ModelUnavailable
from deployments.embedder.models.artifact import MINILM, converted_path
from deployments.embedder.models.bundle import write_bundle
from deployments.embedder.settings import EmbeddingSettings
from serve_app.operations.diagnose import checks, database_checks, doctor
from serve_app.operations.diagnose.checks import Check
from serve_app.operations.http import Answer, NoAnswer
from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.running import launcher_pid
from serve_app.settings import Settings, load_settings

REFUSED = NoAnswer("Connection refused")


def settings_of(data_dir: Path, **environ: str) -> Settings:
    return load_settings({"MEMEX_DATA_DIR": str(data_dir), **environ})


def summary(check: Check) -> str:
    return f"{check.state}: {check.found}"


def test_new_empty_or_own_folder_is_ok(tmp_path: Path) -> None:
    new = tmp_path / "new"
    assert summary(checks.data_folder(settings_of(new), None)).startswith("ok: ")
    assert not new.exists()
    assert checks.data_folder(settings_of(tmp_path), None).state == "ok"
    (tmp_path / "lock").touch()
    (tmp_path / "postgres").mkdir()
    assert "in use by process 7" in checks.data_folder(settings_of(tmp_path), 7).found


def test_foreign_folder_and_file_fail(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root, found in ((tmp_path, "holds other files"), (tmp_path / "file", "cannot be written")):
        check = checks.data_folder(settings_of(root), None)
        assert check.state == "failed"
        assert found in check.found
        assert "MEMEX_DATA_DIR" in check.todo


def test_folder_that_cannot_be_created_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    root = tmp_path / "new" / "data"
    check = checks.data_folder(settings_of(root), None)
    assert summary(check) == f"failed: {root} does not exist and cannot be created"
    assert str(tmp_path) in check.todo


def test_existing_model_is_loaded(models_dir: Path, encoder: object) -> None:
    check = checks.model(EmbeddingSettings(), models_dir)
    assert check.state == "ok"
    assert "loads, 384 dimensions" in check.found


def test_model_to_be_prepared_is_ok(tmp_path: Path) -> None:
    assert "converted at the first start" in checks.model(EmbeddingSettings(), tmp_path).found
    assert list(tmp_path.iterdir()) == []
    small = EmbeddingSettings(model="BAAI/bge-small-en-v1.5")
    assert "downloaded at the first start" in checks.model(small, tmp_path).found


def test_broken_model_check_names_the_file_to_delete(tmp_path: Path) -> None:
    path = converted_path(EmbeddingSettings(), tmp_path)
    path.write_bytes(b"not a model")
    check = checks.model(EmbeddingSettings(), tmp_path)
    assert check.state == "failed"
    assert str(path) in check.todo


def test_damaged_weights_are_found_by_their_checksum(tmp_path: Path) -> None:
    other = replace(MINILM, weights_sha256="0" * 64)
    check = checks.model(EmbeddingSettings(), tmp_path, other)
    assert summary(check).endswith("its weights are damaged (sha256)")
    assert "reinstall" in check.todo


def test_bundled_model_is_checked_and_loaded(
    tmp_path: Path, models_dir: Path, encoder: object
) -> None:
    shutil.copy(converted_path(EmbeddingSettings(), models_dir), tmp_path)
    bundle = write_bundle(tmp_path)
    check = checks.model(EmbeddingSettings(), models_dir, bundled=bundle)
    assert check.state == "ok"
    assert check.found.endswith("files as bundled (sha256); loads, 384 dimensions")
    (tmp_path / "config.json").write_text("{}")
    (check,) = checks.results(
        "model", lambda: checks.model(EmbeddingSettings(), models_dir, bundled=bundle)
    )
    assert summary(check).startswith("failed: ")
    assert "is damaged; reinstall memex-serve" in check.found


def test_unknown_model_and_stand_in_fail(tmp_path: Path) -> None:
    unknown = checks.model(EmbeddingSettings(model="nobody/nothing"), tmp_path)
    assert "MEMEX_EMBEDDING_MODEL" in unknown.todo
    stand_in = checks.model(EmbeddingSettings(stand_in_ms=1), tmp_path)
    assert "MEMEX_EMBEDDING_STAND_IN_MS" in stand_in.todo


def test_raising_check_is_reported_without_a_traceback() -> None:
    def fails(error: Exception) -> Callable[[], Check]:
        def run_check() -> Check:
            raise error

        return run_check

    (check,) = checks.results("model", fails(ModelUnavailable("the package is missing")))
    assert summary(check) == "failed: the package is missing"
    (check,) = checks.results("model", fails(KeyError("secret")))
    assert summary(check) == "failed: could not be checked (KeyError)"


@pytest.mark.parametrize(
    ("answer", "is_running", "state", "words"),
    [
        (REFUSED, False, "off", "memex serve starts it"),
        (REFUSED, True, "failed", "Connection refused"),
        (Answer(401, ""), True, "failed", "another token"),
        (Answer(200, "<html>"), True, "failed", "not Ray's dashboard"),
        (Answer(200, "{}"), True, "ok", "runs"),
    ],
)
def test_ray_check(answer: Answer | NoAnswer, is_running: bool, state: str, words: str) -> None:
    check = checks.ray(answer, is_running, "http://127.0.0.1:1")
    assert check.state == state
    assert words in check.found
    assert bool(check.todo) == (state == "failed")


def details(**statuses: str) -> Answer:
    """Serve's answer, one replica for each deployment; of `Embedder="UNHEALTHY"`, none runs."""
    deployments = {
        name: {
            "status": status,
            "message": "Traceback:\nModelUnavailable: no network" if "UN" in status else "",
            "target_num_replicas": 1,
            "replicas": [{"state": "STARTING" if "UN" in status else "RUNNING"}],
        }
        for name, status in statuses.items()
    }
    application = {"name": "memex", "status": "RUNNING", "message": "", "deployments": deployments}
    return Answer(200, json.dumps({"applications": {"memex": application}}))


def test_each_deployment_has_a_check(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    answer = details(RestIngress="HEALTHY", Embedder="UNHEALTHY", MemoryStore="UPSCALING")
    found = {check.name: check for check in checks.deployments(answer, settings)}
    assert summary(found["RestIngress"]) == "ok: 1 of 1 replicas run"
    assert summary(found["MemoryStore"]) == "ok: 1 of 1 replicas run (upscaling)"
    assert summary(found["Embedder"]) == (
        "failed: 0 of 1 replicas run (unhealthy): ModelUnavailable: no network"
    )
    assert summary(found["McpIngress"]) == "failed: is not deployed"
    assert "Reranker" not in found


def test_failed_deployment_is_reported_with_its_reason(tmp_path: Path) -> None:
    application = {
        "name": "memex",
        "status": "DEPLOY_FAILED",
        "message": "Traceback:\n  x\nBadSetting: MEMEX_X",
        "deployments": {},
    }
    answer = Answer(200, json.dumps({"applications": {"memex": application}}))
    found = {check.name: check for check in checks.deployments(answer, settings_of(tmp_path))}
    assert summary(found["memex"]) == "failed: BadSetting: MEMEX_X"


@pytest.mark.parametrize(
    ("answer", "state", "words"),
    [
        (Answer(200, '{"status": "ok", "version": "1"}'), "ok", "version 1"),
        (REFUSED, "failed", "Connection refused"),
        (Answer(200, "hello"), "failed", "is not memex"),
        (
            Answer(503, '{"status": "degraded", "db": "down", "embedder": "ok"}'),
            "failed",
            "not the database",
        ),
        (Answer(503, '{"status": 503, "detail": "no replica"}'), "failed", "503, no replica"),
    ],
)
def test_api_check(answer: Answer | NoAnswer, state: str, words: str) -> None:
    check = checks.api("http://127.0.0.1:8000", answer)
    assert check.state == state
    assert words in check.found


def test_taken_port_fails() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        number = other.getsockname()[1]
        check = checks.port("API port", "MEMEX_PORT", "127.0.0.1", number)
    assert check.state == "failed"
    assert "MEMEX_PORT" in check.todo
    assert checks.port("API port", "MEMEX_PORT", "127.0.0.1", number).state == "ok"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(), "nothing listens"),
        (TimeoutError(), "in time"),
        (asyncpg.InvalidPasswordError("user x"), "rejects this user"),
        (asyncpg.InvalidCatalogNameError("x"), "no such database"),
        (asyncpg.TooManyConnectionsError("x"), "no connection left"),
        (asyncpg.InternalServerError("secret"), "SQLSTATE XX000"),
        (OSError(113, "No route to host"), "No route to host"),
    ],
)
def test_database_error_has_a_reason_and_a_remedy(error: Exception, words: str) -> None:
    found, todo = database_checks._refusal(error)
    assert words in found
    assert todo
    assert "secret" not in found + todo


def test_unreachable_database_is_one_failed_check(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    for dsn in ("postgresql://u:pw@127.0.0.1:9/x", "mysql://x", "postgresql://u@127.0.0.1:port/x"):
        (check,) = database_checks.connected(dsn, settings, is_embedded=False)
        assert check.state == "failed"
        assert "pw" not in check.found
        assert "DATABASE_URL" in check.todo


def test_stopped_embedded_postgres_is_no_failure(tmp_path: Path) -> None:
    found = database_checks.embedded_and_stopped(DataFolder(tmp_path))
    assert [(check.name, check.state) for check in found] == [
        ("Postgres", "off"),
        ("pgvector", "ok"),
    ]


def test_launcher_pid_is_read_while_the_lock_is_held(tmp_path: Path) -> None:
    assert launcher_pid(tmp_path) is None
    lock = tmp_path / "lock"
    lock.write_text("123\n")
    assert launcher_pid(tmp_path) is None
    with lock.open() as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)
        assert launcher_pid(tmp_path) == 123
    assert launcher_pid(tmp_path) is None
    assert lock.read_text() == "123\n"


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> list[Check]:
    results = [Check("Ray", "off", "does not run"), Check("model", "ok", "is here")]
    monkeypatch.setattr(doctor, "examine", lambda: iter(results))
    return results


def test_report_is_printed_and_failures_are_returned(results: list[Check], capsys: Any) -> None:
    assert doctor.doctor(as_json=False)
    assert "no check failed" in capsys.readouterr().out
    results.append(Check("API port", "failed", "is taken", "stop what listens there"))
    assert not doctor.doctor(as_json=False)
    printed = capsys.readouterr().out
    assert "FAILED  API port  is taken" in printed
    assert "→ stop what listens there" in printed
    assert "1 of 3 checks failed" in printed
    assert not doctor.doctor(as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert not report["well"]
    assert report["checks"][2] == {
        "name": "API port", "state": "failed", "found": "is taken",
        "todo": "stop what listens there",
    }  # fmt: skip


def test_invalid_setting_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("MEMEX_PROT", "1")
    monkeypatch.setattr(doctor, "load_settings", lambda: load_settings({"MEMEX_PROT": "1"}))
    assert not doctor.doctor(as_json=False)
    assert "MEMEX_PROT is not a setting" in capsys.readouterr().out
