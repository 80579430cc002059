import json
from pathlib import Path

import pytest
import yaml

from loadtest.replicas.report import as_json, bottleneck, of_linear, summary, table
from loadtest.replicas.rows import Row, connections
from loadtest.replicas.run import environment, profile_of
from loadtest.wrk import Measured, Times
from serve_app.settings import load_settings


def row(replicas: int, per_s: float, cost_ms: float = 60.0, **cores: float) -> Row:
    times = Times(10.0, 20.0, 30.0) if per_s else None
    measured = Measured(10.0, round(10 * per_s), 0, 0, times, None)
    cpu_s = {kind: 10 * used for kind, used in cores.items()}
    return Row(cost_ms, replicas, measured, cpu_s, {"ingress": 1, "embedder": replicas}, 1.8)


ROWS = [
    row(1, 16, ingress=0.1, ray=0.2),
    row(4, 60, ingress=0.4, ray=0.2),
    row(8, 80, ingress=0.95, ray=0.2),
]


def test_profile_has_the_requested_replicas_and_fits_two_cores(tmp_path: Path) -> None:
    path = tmp_path / "16.yaml"
    path.write_text(yaml.safe_dump(profile_of(16)))
    settings = load_settings(environment(2.0, 16, path))
    embedder = settings.deployments["Embedder"]
    assert embedder["num_replicas"] == 16
    assert "autoscaling_config" not in embedder
    cpus = sum(
        options["ray_actor_options"]["num_cpus"]
        * (options.get("num_replicas") or options["autoscaling_config"]["max_replicas"])
        for options in settings.deployments.values()
    )
    assert cpus <= 2
    assert settings.embedding.stand_in_ms == 2.0
    assert (settings.edge.max_batch, settings.edge.cache_mib) == (1, 0)


@pytest.mark.parametrize("replicas", [1, 16])
def test_calls_in_flight_keep_all_replicas_busy(replicas: int) -> None:
    settings = load_settings(environment(2.0, replicas, Path("configs/laptop.yaml").absolute()))
    assert settings.edge.calls_in_flight == connections(replicas) >= 2 * replicas


def test_linear_is_relative_to_the_fewest_replicas_of_the_same_cost() -> None:
    rows = [*ROWS, row(2, 100, 2.0), row(4, 100, 2.0)]
    assert [of_linear(entry, rows) for entry in rows] == pytest.approx([1, 0.9375, 0.625, 1, 0.5])
    assert of_linear(row(2, 10), [row(1, 0)]) is None


def test_summary_names_the_bottleneck() -> None:
    assert list(summary([*ROWS[:2], row(1, 500, 2.0)], 2)) == [
        "60 ms a text: at least 0.85 of linear to 4 replicas",
        "2 ms a text: at least 0.85 of linear to 1 replicas",
    ]
    assert list(summary(ROWS, 4)) == [
        "60 ms a text: with 8 replicas 0.62 of linear: "
        "ingress, each process of which uses 0.95 of a core"
    ]


def test_bottleneck_is_identified() -> None:
    full = row(8, 80, ingress=0.9, embedder=0.6, postgres=0.4)
    assert bottleneck(full, 2).startswith("all cores are used, 1.90 of 2 (ingress 0.90, ")
    assert bottleneck(full, 4) == "ingress, each process of which uses 0.90 of a core"
    idle = row(8, 80, ingress=0.2, embedder=0.96)
    assert idle.busiest == "ingress"
    assert idle.of_a_core["embedder"] == pytest.approx(0.12)
    assert bottleneck(idle, 2).startswith("the machine is not quiet, other programs use 0.64 cores")
    assert bottleneck(idle, 4) == (
        "no CPU: 1.16 of 4 cores are used (embedder 0.96, ingress 0.20), "
        "and the replicas sleep 60% of the time for a text"
    )


def test_table_has_a_line_for_each_row() -> None:
    lines = list(table([*ROWS, row(16, 0, ingress=0.1)]))
    assert len(lines) == 6
    assert "0.62" in lines[4]
    assert lines[4].endswith("1.15  ingress 0.95")


def test_report_is_valid_json() -> None:
    report = json.loads(json.dumps(as_json(ROWS, 2, 10)))
    assert report["rows"][2]["busiest"] == "ingress"
    assert report["rows"][2]["of_what_replicas_could"] == pytest.approx(0.6)
