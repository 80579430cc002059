"""How much memory there is, and what Postgres may have of it."""

from pathlib import Path

import psutil
import pytest

from serve_app.operations.machine.memory import MIB, limit_bytes, shared_buffers_mib


def test_a_control_group_may_leave_less_than_the_machine_has(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(f"{512 * MIB}\n")
    assert limit_bytes([tmp_path / "missing", limit]) == 512 * MIB


@pytest.mark.parametrize("said", ["max\n", f"{1 << 62}\n"])
def test_the_machine_has_no_more_than_it_has(tmp_path: Path, said: str) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(said)
    assert limit_bytes([limit]) == psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("memory_gib", "mib"), [(0.5, 128), (1, 128), (4, 512), (16, 2048), (24, 3072), (256, 4096)]
)
def test_postgres_may_have_an_eighth_within_bounds(memory_gib: float, mib: int) -> None:
    assert shared_buffers_mib(int(memory_gib * 1024) * MIB) == mib
