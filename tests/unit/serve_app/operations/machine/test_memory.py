"""The memory limit, and the part of it that Postgres gets."""

from pathlib import Path

import psutil
import pytest

from serve_app.operations.machine.memory import MIB, limit_bytes, shared_buffers_mib


def test_control_group_limit_is_used_if_lower(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(f"{512 * MIB}\n")
    assert limit_bytes([tmp_path / "missing", limit]) == 512 * MIB


@pytest.mark.parametrize("limit_text", ["max\n", f"{1 << 62}\n"])
def test_unlimited_control_group_gives_the_machine_memory(tmp_path: Path, limit_text: str) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(limit_text)
    assert limit_bytes([limit]) == psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("memory_gib", "mib"), [(0.5, 128), (1, 128), (4, 512), (16, 2048), (24, 3072), (256, 4096)]
)
def test_postgres_gets_an_eighth_within_bounds(memory_gib: float, mib: int) -> None:
    assert shared_buffers_mib(int(memory_gib * 1024) * MIB) == mib
