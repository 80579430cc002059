"""`memex doctor`: each check with what is well and what is wrong, and what is printed of them."""

import fcntl
import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from deployments.domain.errors import ModelUnavailable
from deployments.embedder.models.artifact import MINILM, converted_path
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


def said(check: Check) -> str:
    return f"{check.state}: {check.found}"


def test_a_folder_that_is_new_empty_or_ours_is_well(tmp_path: Path) -> None:
    new = tmp_path / "new"
    assert said(checks.data_folder(settings_of(new), None)).startswith("ok: ")
    assert not new.exists()
    assert checks.data_folder(settings_of(tmp_path), None).state == "ok"
    (tmp_path / "lock").touch()
    (tmp_path / "postgres").mkdir()
    assert "in use by process 7" in checks.data_folder(settings_of(tmp_path), 7).found


def test_a_strangers_folder_and_a_file_are_not(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root, found in ((tmp_path, "holds other things"), (tmp_path / "file", "cannot be written")):
        check = checks.data_folder(settings_of(root), None)
        assert check.state == "failed"
        assert found in check.found
        assert "MEMEX_DATA_DIR" in check.todo


def test_a_folder_that_cannot_be_made_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    check = checks.data_folder(settings_of(tmp_path / "new" / "data"), None)
    assert said(check) == f"failed: {tmp_path / 'new' / 'data'} is not there and cannot be made"
    assert str(tmp_path) in check.todo


def test_the_model_is_loaded_where_it_is_there(models_dir: Path, encoder: object) -> None:
    check = checks.model(EmbeddingSettings(), models_dir)
    assert check.state == "ok"
    assert "loads, 384 dimensions" in check.found


def test_a_model_to_come_is_well(tmp_path: Path) -> None:
    assert "converted at the first start" in checks.model(EmbeddingSettings(), tmp_path).found
    assert list(tmp_path.iterdir()) == []
    small = EmbeddingSettings(model="BAAI/bge-small-en-v1.5")
    assert "downloaded at the first start" in checks.model(small, tmp_path).found


def test_a_broken_model_names_the_file_to_delete(tmp_path: Path) -> None:
    path = converted_path(EmbeddingSettings(), tmp_path)
    path.write_bytes(b"not a model")
    check = checks.model(EmbeddingSettings(), tmp_path)
    assert check.state == "failed"
    assert str(path) in check.todo


def test_damaged_weights_are_found_by_their_checksum(tmp_path: Path) -> None:
    other = replace(MINILM, weights_sha256="0" * 64)
    check = checks.model(EmbeddingSettings(), tmp_path, other)
    assert said(check).endswith("its weights are damaged (sha256)")
    assert "reinstall" in check.todo


def test_a_model_that_nobody_knows_and_a_stand_in_are_wrong(tmp_path: Path) -> None:
    unknown = checks.model(EmbeddingSettings(model="nobody/nothing"), tmp_path)
    assert "MEMEX_EMBEDDING_MODEL" in unknown.todo
    stand_in = checks.model(EmbeddingSettings(stand_in_ms=1), tmp_path)
    assert "MEMEX_EMBEDDING_STAND_IN_MS" in stand_in.todo


def test_a_look_that_fails_is_a_finding_without_a_traceback() -> None:
    def fails(error: Exception) -> Callable[[], Check]:
        def look() -> Check:
            raise error

        return look

    (check,) = checks.looked("model", fails(ModelUnavailable("the package is missing")))
    assert said(check) == "failed: the package is missing"
    (check,) = checks.looked("model", fails(KeyError("secret")))
    assert said(check) == "failed: could not be looked at (KeyError)"


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
def test_ray(answer: Answer | NoAnswer, is_running: bool, state: str, words: str) -> None:
    check = checks.ray(answer, is_running, "http://127.0.0.1:1")
    assert check.state == state
    assert words in check.found
    assert bool(check.todo) == (state == "failed")


def details(**statuses: str) -> Answer:
    """Serve's, with one replica each; `Embedder="UNHEALTHY"` has none that runs."""
    told = {
        name: {
            "status": status,
            "message": "Traceback:\nModelUnavailable: no network" if "UN" in status else "",
            "target_num_replicas": 1,
            "replicas": [{"state": "STARTING" if "UN" in status else "RUNNING"}],
        }
        for name, status in statuses.items()
    }
    application = {"name": "memex", "status": "RUNNING", "message": "", "deployments": told}
    return Answer(200, json.dumps({"applications": {"memex": application}}))


def test_each_deployment_is_told(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    answer = details(RestIngress="HEALTHY", Embedder="UNHEALTHY", MemoryStore="UPSCALING")
    found = {check.name: check for check in checks.deployments(answer, settings)}
    assert said(found["RestIngress"]) == "ok: 1 of 1 replicas run"
    assert said(found["MemoryStore"]) == "ok: 1 of 1 replicas run (upscaling)"
    assert said(found["Embedder"]) == (
        "failed: 0 of 1 replicas run (unhealthy): ModelUnavailable: no network"
    )
    assert said(found["McpIngress"]) == "failed: is not deployed"
    assert "Reranker" not in found


def test_an_application_that_was_refused_says_why(tmp_path: Path) -> None:
    application = {
        "name": "memex",
        "status": "DEPLOY_FAILED",
        "message": "Traceback:\n  x\nBadSetting: MEMEX_X",
        "deployments": {},
    }
    answer = Answer(200, json.dumps({"applications": {"memex": application}}))
    found = {check.name: check for check in checks.deployments(answer, settings_of(tmp_path))}
    assert said(found["memex"]) == "failed: BadSetting: MEMEX_X"


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
    ],
)
def test_the_api(answer: Answer | NoAnswer, state: str, words: str) -> None:
    check = checks.api("http://127.0.0.1:8000", answer)
    assert check.state == state
    assert words in check.found


def test_a_taken_port_is_told_with_its_owner() -> None:
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
        (asyncpg.InvalidPasswordError("user x"), "does not let this user in"),
        (asyncpg.InvalidCatalogNameError("x"), "no such database"),
        (asyncpg.TooManyConnectionsError("x"), "no connection left"),
        (asyncpg.InternalServerError("secret"), "SQLSTATE XX000"),
        (OSError(113, "No route to host"), "No route to host"),
    ],
)
def test_why_a_database_does_not_answer(error: Exception, words: str) -> None:
    found, todo = database_checks._refusal(error)
    assert words in found
    assert todo
    assert "secret" not in found + todo


def test_a_database_that_is_away_is_one_finding(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    for dsn in ("postgresql://u:pw@127.0.0.1:9/x", "mysql://x", "postgresql://u@127.0.0.1:port/x"):
        (check,) = database_checks.connected(dsn, settings, is_embedded=False)
        assert check.state == "failed"
        assert "pw" not in check.found
        assert "DATABASE_URL" in check.todo


def test_the_embedded_one_need_not_run(tmp_path: Path) -> None:
    found = database_checks.embedded_and_stopped(DataFolder(tmp_path))
    assert [(check.name, check.state) for check in found] == [
        ("Postgres", "off"),
        ("pgvector", "ok"),
    ]


def test_who_has_the_folder(tmp_path: Path) -> None:
    assert launcher_pid(tmp_path) is None
    lock = tmp_path / "lock"
    lock.write_text("123\n")
    assert launcher_pid(tmp_path) is None
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert launcher_pid(tmp_path) == 123
    assert launcher_pid(tmp_path) is None
    assert lock.read_text() == "123\n"


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Check]:
    found = [Check("Ray", "off", "does not run"), Check("model", "ok", "is here")]
    monkeypatch.setattr(doctor, "examine", lambda: iter(found))
    return found


def test_what_is_printed_and_answered(found: list[Check], capsys: Any) -> None:
    assert doctor.doctor(as_json=False)
    assert "all is well" in capsys.readouterr().out
    found.append(Check("API port", "failed", "is taken", "stop what listens there"))
    assert not doctor.doctor(as_json=False)
    printed = capsys.readouterr().out
    assert "FAILED  API port  is taken" in printed
    assert "→ stop what listens there" in printed
    assert "1 of 3 checks failed" in printed
    assert not doctor.doctor(as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert not told["well"]
    assert told["checks"][2] == {
        "name": "API port", "state": "failed", "found": "is taken",
        "todo": "stop what listens there",
    }  # fmt: skip


def test_a_bad_setting_is_a_finding(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("MEMEX_PROT", "1")
    monkeypatch.setattr(doctor, "load_settings", lambda: load_settings({"MEMEX_PROT": "1"}))
    assert not doctor.doctor(as_json=False)
    assert "MEMEX_PROT is not a setting" in capsys.readouterr().out
