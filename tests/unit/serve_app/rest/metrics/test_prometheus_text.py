import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from serve_app.rest.metrics.prometheus_text import merge, node_family, render

SCOPE = 'otel_scope_name="ray",otel_scope_schema_url="",otel_scope_version=""'
NODE = """# HELP ray_memex_http_requests_total HTTP requests answered.
# TYPE ray_memex_http_requests_total counter
ray_memex_http_requests_total{{Component="core_worker",NodeAddress="{node}",SessionName="s",\
Version="2",WorkerId="ab",method="GET",SCOPE,route="/v1/memories/{{memory_id}}"}} 3.0
# HELP ray_node_cpu Not ours.
# TYPE ray_node_cpu gauge
ray_node_cpu{{node="{node}"}} 1.0
# HELP ray_memex_embedding_duration_seconds Time.
# TYPE ray_memex_embedding_duration_seconds histogram
ray_memex_embedding_duration_seconds_bucket{{NodeAddress="{node}",le="0.1"}} 2.0
ray_memex_embedding_duration_seconds_bucket{{NodeAddress="{node}",le="+Inf"}} 2.0
ray_memex_embedding_duration_seconds_count{{NodeAddress="{node}"}} 2.0
ray_memex_embedding_duration_seconds_sum{{NodeAddress="{node}"}} 0.1
# HELP ray_serve_num_replicas{{EMPTY}}
# TYPE ray_serve_num_replicas gauge
ray_serve_num_replicas{{NodeAddress="{node}",WorkerId="ab",SCOPE}} 1.0
# HELP ray_serve_latency_ms The time in milliseconds.
# TYPE ray_serve_latency_ms histogram
ray_serve_latency_ms_bucket{{le="5.0",NodeAddress="{node}"}} 2.0
ray_serve_latency_ms_bucket{{le="+Inf",NodeAddress="{node}"}} 2.0
ray_serve_latency_ms_count{{NodeAddress="{node}"}} 2.0
ray_serve_latency_ms_sum{{NodeAddress="{node}"}} 7.5
# HELP ray_serve_delay_ms The delay, in ms.
# TYPE ray_serve_delay_ms gauge
ray_serve_delay_ms{{NodeAddress="{node}"}} 1500.0
# HELP ray_serve_loop_duration_s The duration.
# TYPE ray_serve_loop_duration_s gauge
ray_serve_loop_duration_s{{NodeAddress="{node}"}} 1.5
# HELP ray_serve_request_counter_total Requests.
# TYPE ray_serve_request_counter_total counter
ray_serve_request_counter_total{{NodeAddress="{node}"}} 4.0
""".replace("SCOPE", SCOPE).replace("{{EMPTY}}", " ")


def exposition(*nodes: str) -> str:
    return render(merge(NODE.format(node=node) for node in nodes))


def samples(text: str) -> list[Sample]:
    return [s for family in text_string_to_metric_families(text) for s in family.samples]


def test_nodes_merge_into_valid_families() -> None:
    text = exposition("a", "b")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert set(families) == {
        "memex_http_requests",
        "memex_embedding_duration_seconds",
        "ray_serve_num_replicas",
        "ray_serve_latency_seconds",
        "ray_serve_delay_seconds",
        "ray_serve_loop_duration_seconds",
        "ray_serve_request",
    }
    assert len(families["memex_http_requests"].samples) == 2
    assert len(families["memex_embedding_duration_seconds"].samples) == 8
    assert text.count("# TYPE memex_http_requests_total") == 1


def test_uninformative_labels_are_dropped() -> None:
    text = exposition("a")
    (requests,) = (s for s in samples(text) if s.name == "memex_http_requests_total")
    assert requests.labels == {
        "node": "a",
        "method": "GET",
        "route": "/v1/memories/{memory_id}",
    }
    (replicas,) = (s for s in samples(text) if s.name == "ray_serve_num_replicas")
    assert replicas.labels == {"node": "a", "worker_id": "ab"}


def test_label_like_text_in_a_value_stays() -> None:
    odd = 'WorkerId=\\"x\\",Version=\\"y\\"}, \\\\'
    text = f"""# HELP ray_memex_x_total X.
# TYPE ray_memex_x_total counter
ray_memex_x_total{{Version="1",odd="{odd}"}} 1.0
"""
    (found,) = samples(render(merge([text])))
    assert found.labels == {"odd": 'WorkerId="x",Version="y"}, \\'}
    assert "Version" not in render(merge([text])).replace(odd, "")


def test_any_character_in_a_value_and_samples_without_labels() -> None:
    text = """# HELP ray_serve_x_ms X.
# TYPE ray_serve_x_ms gauge
ray_serve_x_ms{odd="a\u2028b} 7 {\x0b",le="5"} 2000.0
ray_serve_x_ms 1000.0
ray_serve_x_ms{Component="c"} 3000.0
"""
    found = samples(render(merge([text])))
    assert [(s.name, s.labels, s.value) for s in found] == [
        ("ray_serve_x_seconds", {"odd": "a\u2028b} 7 {\x0b", "le": "0.005"}, 2),
        ("ray_serve_x_seconds", {}, 1),
        ("ray_serve_x_seconds", {}, 3),
    ]


def test_milliseconds_become_seconds_and_counts_stay_unchanged() -> None:
    found = {
        (s.name, s.labels.get("le")): s.value for s in samples(exposition("a")) if "serve" in s.name
    }
    assert found["ray_serve_latency_seconds_bucket", "0.005"] == 2
    assert found["ray_serve_latency_seconds_bucket", "+Inf"] == 2
    assert found["ray_serve_latency_seconds_count", None] == 2
    assert found["ray_serve_latency_seconds_sum", None] == 0.0075
    assert found["ray_serve_delay_seconds", None] == 1.5
    assert found["ray_serve_loop_duration_seconds", None] == 1.5
    assert "milliseconds" not in exposition("a")


def test_missing_node_is_reported_as_down() -> None:
    text = render({"memex_metrics_node_up": node_family([("a", True), ("b", False)])})
    assert {s.labels["node"]: s.value for s in samples(text)} == {"a": 1, "b": 0}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_the_exposition() -> None:
    command = ["promtool", "check", "metrics"]
    result = subprocess.run(command, input=exposition("a"), capture_output=True, text=True)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")
    raw = subprocess.run(command, input=NODE.format(node="a"), capture_output=True, text=True)
    assert raw.returncode != 0  # so that the check above is meaningful
