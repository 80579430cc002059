"""`memex serve`: starts, stops, kills, and starts with wrong settings."""

import signal
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.ray.service import Service, listening_addresses
from tests.support.ray.watching import Watch

MEMORY = {"agent_id": "a", "user_id": "u", "content": "kept over restarts"}


@pytest.fixture(scope="module")
def service(no_shared_service: None) -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="memex-", ignore_cleanup_errors=True) as root:
        # As long as a path in a home folder: sockets must then lie elsewhere, and the next start
        # must find them there after a kill.
        data_dir = Path(root) / "a-folder-with-a-long-name" / "memex"
        data_dir.parent.mkdir()
        Path(root).chmod(0o755)
        service = Service(data_dir, MEMEX_RATE_LIMIT_WRITES_PER_MINUTE="2")
        yield service
        service.kill()


def refusal(service: Service, **settings: str) -> str:
    """The one line that a failing start prints."""
    process = service.launch(**settings)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1, output
    (line,) = [line for line in output.splitlines() if line and "model " not in line]
    return line


def haproxy_addresses(service: Service, number: int) -> set[tuple[str, int]]:
    """What HAProxy listens on. A new process takes over after each change of the replicas, and has
    not all of its sockets at once."""
    deadline_s = time.monotonic() + 20
    while True:
        addresses = listening_addresses(service.processes_named("haproxy"))
        if len(addresses) == number or time.monotonic() > deadline_s:
            assert len(addresses) == number, addresses
            return addresses
        time.sleep(0.5)


def test_service_starts_stops_and_recovers_from_a_kill(service: Service) -> None:
    """One test, because each start takes long and every step depends on the previous one."""
    permissions = permissions_above(service.data_dir)
    with Watch(service.url, is_limited=True).watching() as watch:
        service.start()
    assert watch.unexpected() == []
    for path, statuses in watch.statuses().items():
        assert {0, 503} <= statuses, path  # nothing listens; nothing is deployed
    printed = "".join(service.lines)
    for expected in (service.url, f"{service.url}/docs", "Dashboard", "model ready"):
        assert expected in printed
    assert httpx2.get(f"{service.url}/health").status_code == 200
    assert open_to_others(service.data_dir) == []
    stored = httpx2.post(f"{service.url}/v1/memories", json=MEMORY)
    assert stored.status_code == 201
    assert stored.headers["ratelimit-policy"] == '"write";q=2;w=60;pk=:YQ==:'
    assert stored.headers["ratelimit"].startswith('"write";r=1;t=')

    # The limit comes from the profile or the environment and holds over all replicas.
    last = httpx2.post(f"{service.url}/v1/memories", json=MEMORY)
    assert last.status_code == 201
    assert last.headers["ratelimit"].startswith('"write";r=0;t=')
    refused = httpx2.post(f"{service.url}/v1/memories", json=MEMORY)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.json()["rate_limit"]["policy"] == "write"

    assert "already running with the data folder" in refusal(service)
    with tempfile.TemporaryDirectory(prefix="memex-") as other:
        assert f"MEMEX_PORT: cannot listen on 127.0.0.1:{service.port}" in refusal(
            service, MEMEX_DATA_DIR=other
        )
    assert httpx2.get(f"{service.url}/health").status_code == 200

    service.stop(signal.SIGKILL)
    orphans = service.remaining()
    assert orphans

    service.settings["MEMEX_HOST"] = "0.0.0.0"
    service.start()
    assert [process for process in orphans if process.is_running()] == [], orphans
    assert count_of(service) == 2
    addresses = haproxy_addresses(service, 3)  # the API, HAProxy's statistics and its metrics
    assert ("0.0.0.0", service.port) in addresses
    assert {host for host, _ in addresses - {("0.0.0.0", service.port)}} == {"127.0.0.1"}
    refused = httpx2.get(f"{service.url}/docs", headers={"host": "memex.example.org"})
    assert refused.status_code == 421

    # As a supervisor stops a group of processes.
    with Watch(service.url, is_limited=True).watching() as watch:
        assert service.stop(signal.SIGTERM, group=True) == 0
    assert watch.unexpected() == []
    assert service.remaining() == []
    assert permissions_above(service.data_dir) == permissions


def count_of(service: Service) -> int:
    params = {"agent_id": "a", "user_id": "u"}
    return int(httpx2.get(f"{service.url}/v1/memories/count", params=params).json()["count"])


def open_to_others(folder: Path) -> list[Path]:
    """The sockets and secrets that other users of the machine can reach."""
    found = [path for path in folder.rglob("*") if path.is_socket() or path.name == "ray_token"]
    assert folder / "ray_token" in found
    return [
        path
        for path in found
        if all(
            stat.S_IMODE(step.lstat().st_mode) & 0o007
            for step in (path, *path.parents)
            if step != folder and folder in step.parents
        )
    ]


def permissions_above(folder: Path) -> dict[Path, int]:
    return {path: stat.S_IMODE(path.stat().st_mode) for path in folder.parents}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"MEMEX_PROT": "1"}, "MEMEX_PROT is not a setting"),
        ({"MEMEX_EMBEDDING_PRECISION": "int4"}, "MEMEX_EMBEDDING_PRECISION"),
        ({"MEMEX_DATA_DIR": "/usr"}, "MEMEX_DATA_DIR: /usr holds other files"),
        ({"DATABASE_URL": "postgresql://u@127.0.0.1:port/x"}, "DATABASE_URL cannot be read"),
        ({"MEMEX_DATA_DIR": "/proc/memex"}, "MEMEX_DATA_DIR: /proc/memex cannot be written to"),
        ({"MEMEX_HOST": "203.0.113.7"}, "MEMEX_PORT: cannot listen on 203.0.113.7"),
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL must look like postgresql://"),
        ({"DATABASE_URL": "postgresql://u:pw@127.0.0.1:9/x"}, "the database does not answer"),
    ],
)
def test_wrong_setting_is_a_one_line_error(
    service: Service, settings: dict[str, str], message: str
) -> None:
    assert message in refusal(service, **settings)


def test_taken_dashboard_port_is_a_one_line_error(service: Service) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert f"MEMEX_DASHBOARD_PORT: cannot listen on 127.0.0.1:{port}" in refusal(
            service, MEMEX_DASHBOARD_PORT=port
        )
