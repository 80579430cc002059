import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
import yaml

from serve_app.settings import ROOT
from tests.support.ray.collector import Collector
from tests.support.ray.service import NO_LIMITS, Service, fresh_service

_numbers = itertools.count()
_HERE = Path(__file__).parent

# So that a pass condenses a handful of memories.
SMALL_SUMMARIES = {"MEMEX_SUMMARIZATION_THRESHOLD": "5", "MEMEX_SUMMARIZATION_BATCH_SIZE": "3"}

OFTEN_MEASURED = {
    "MEMEX_SUMMARIZATION_ENABLED": "true",
    "MEMEX_SUMMARIZATION_INTERVAL_SECONDS": "1",
    "RAY_metrics_report_interval_ms": "1000",
    "RAY_SERVE_STATUS_GAUGE_REPORT_INTERVAL_S": "0.5",
    "OTEL_BSP_SCHEDULE_DELAY": "200",
    "MEMEX_DB_STATEMENT_TIMEOUT_S": "2",
}


class SharedService:
    """One service for consecutive modules, because a start takes long."""

    def __init__(self) -> None:
        self._service: Service | None = None
        self._settings: dict[str, str] = {}
        self._stack = ExitStack()

    def running(self, settings: dict[str, str]) -> Service:
        is_running = self._service is not None and self._service.is_running()
        if self._service is None or not is_running or settings != self._settings:
            self.stop()
            self._service = self._stack.enter_context(fresh_service(**settings))
            self._settings = settings
        return self._service

    def stop(self) -> None:
        self._stack.close()
        self._service = None


@pytest.fixture(scope="session")
def shared() -> Iterator[SharedService]:
    shared = SharedService()
    yield shared
    shared.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the modules that share a service last, one group for each service."""

    def place(item: pytest.Item) -> int:
        fixtures = set(getattr(item, "fixturenames", ()))
        if (
            _HERE not in item.path.parents
            or "service" not in fixtures
            or "no_shared_service" in fixtures
        ):
            return 0
        return 1 if "watched_service" in fixtures else 2

    items.sort(key=place)


@pytest.fixture(scope="module")
def no_shared_service(shared: SharedService) -> None:
    """For modules that start services of their own: no shared service runs meanwhile."""
    shared.stop()


@pytest.fixture(scope="module")
def service(shared: SharedService, profiles: Path) -> Service:
    """The whole service, running, with two replicas of McpIngress; without rate limits."""
    return shared.running({**NO_LIMITS, **SMALL_SUMMARIES, **_with_two("McpIngress", profiles)})


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    with Collector().listening() as collector:
        yield collector


@pytest.fixture(scope="module")
def watched_service(shared: SharedService, collector: Collector, profiles: Path) -> Service:
    """The service with two replicas of RestIngress, traces, and metrics reported every second."""
    traces = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    two = _with_two("RestIngress", profiles)
    return shared.running({**NO_LIMITS, **OFTEN_MEASURED, **traces, **two})


def _with_two(deployment: str, folder: Path) -> dict[str, str]:
    """The setting of a laptop profile with two replicas of one deployment."""
    profile = yaml.safe_load((ROOT / "configs" / "laptop.yaml").read_text())
    profile["deployments"][deployment].pop("autoscaling_config", None)
    profile["deployments"][deployment]["num_replicas"] = 2
    path = folder / f"two-{deployment}.yaml"
    path.write_text(yaml.safe_dump(profile))
    return {"MEMEX_PROFILE": str(path)}


@pytest.fixture(scope="session")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("profiles")


@pytest.fixture
def agent() -> str:
    """An agent without memories."""
    return f"agent {next(_numbers)}"


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx2.AsyncClient]:
    async with service.client() as client:
        yield client
