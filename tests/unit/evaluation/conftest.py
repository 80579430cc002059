from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

from tests.support.evaluation.benchmark_files import longmemeval_entry, write
from tests.support.evaluation.memex import FakeMemex


@pytest.fixture
async def memex() -> AsyncIterator[FakeMemex]:
    fake = FakeMemex()
    async with TestServer(fake.app) as server:
        fake.url = str(server.make_url("")).rstrip("/")
        yield fake


@pytest.fixture
def data(tmp_path: Path) -> Path:
    entries = [longmemeval_entry(f"q{number}") for number in range(1, 6)]
    entries.append(longmemeval_entry("q6_abs", "Where is the yacht?"))
    return write(tmp_path / "bench.json", entries)
