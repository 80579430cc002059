"""`memex serve` as a person uses it: started, stopped, killed, started wrongly."""

import os
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.ray.service import Service

MEMORY = {"agent_id": "a", "user_id": "u", "content": "kept over restarts"}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="memex-test-", ignore_cleanup_errors=True) as root:
        service = Service(Path(root), MEMEX_RATE_LIMIT_WRITES_PER_MINUTE="2")
        yield service
        service.kill()


def refusal(service: Service, **settings: str) -> str:
    """What a start that cannot work prints: one line, and a failure."""
    process = service.launch(**settings)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1, said
    (line,) = [line for line in said.splitlines() if line and "model " not in line]
    return line


def test_the_whole_way(service: Service) -> None:
    """One test, since each start takes its time: every step needs the one before."""
    outside = rights_above(service.data_dir)
    service.start()
    printed = "".join(service.lines)
    for expected in (service.url, f"{service.url}/docs", "Dashboard", "model ready"):
        assert expected in printed
    assert httpx.get(f"{service.url}/health").status_code == 200
    stored = httpx.post(f"{service.url}/v1/memories", json=MEMORY)
    assert stored.status_code == 201

    # The limit is the profile's or the environment's, counted where every replica sees it.
    assert httpx.post(f"{service.url}/v1/memories", json=MEMORY).status_code == 201
    refused = httpx.post(f"{service.url}/v1/memories", json=MEMORY)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60

    assert "already running with the data folder" in refusal(service)
    with tempfile.TemporaryDirectory(prefix="memex-test-") as other:
        assert f"MEMEX_PORT: cannot listen on 127.0.0.1:{service.port}" in refusal(
            service, MEMEX_DATA_DIR=other
        )
    assert httpx.get(f"{service.url}/health").status_code == 200

    # Ctrl-C in a terminal reaches the whole group.
    assert service.stop(signal.SIGINT, group=True) == 0
    assert service.left() == []
    assert rights_above(service.data_dir) == outside

    service.start()
    assert read(service) == 2
    service.stop(signal.SIGKILL)
    orphans = service.left()
    assert orphans

    service.start()
    assert [process for process in orphans if process.is_running()] == [], orphans
    assert read(service) == 2
    # As a supervisor ends a group of processes.
    assert service.stop(signal.SIGTERM, group=True) == 0
    assert service.left() == []


def read(service: Service) -> int:
    params = {"agent_id": "a", "user_id": "u"}
    return int(httpx.get(f"{service.url}/v1/memories/count", params=params).json()["count"])


def rights_above(folder: Path) -> dict[Path, int]:
    return {path: stat.S_IMODE(path.stat().st_mode) for path in folder.parents}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"MEMEX_PROT": "1"}, "MEMEX_PROT is not a setting"),
        ({"MEMEX_EMBEDDING_PRECISION": "int4"}, "MEMEX_EMBEDDING_PRECISION"),
        ({"MEMEX_DATA_DIR": "/proc/memex"}, "MEMEX_DATA_DIR: /proc/memex cannot be written to"),
        ({"MEMEX_HOST": "203.0.113.7"}, "MEMEX_PORT: cannot listen on 203.0.113.7"),
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL must look like postgresql://"),
        ({"DATABASE_URL": "postgresql://u:pw@127.0.0.1:9/x"}, "the database does not answer"),
    ],
)
def test_a_wrong_setting_is_one_line(
    service: Service, settings: dict[str, str], named: str
) -> None:
    assert named in refusal(service, **settings)


def test_a_taken_dashboard_port_is_one_line(service: Service) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert f"MEMEX_DASHBOARD_PORT: cannot listen on 127.0.0.1:{port}" in refusal(
            service, MEMEX_DASHBOARD_PORT=port
        )


def test_nothing_of_ours_is_open_to_others(service: Service) -> None:
    for path in service.data_dir.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISSOCK(mode) or path.name in ("ray_token", "lock"):
            closed = [
                folder for folder in path.parents if not stat.S_IMODE(folder.stat().st_mode) & 0o007
            ]
            assert not stat.S_IMODE(mode) & 0o077 or closed, path
    assert os.access(service.data_dir, os.W_OK)
