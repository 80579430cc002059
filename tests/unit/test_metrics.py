from prometheus_client.parser import text_string_to_metric_families

from deployments.metrics import merge

NODE = """# HELP ray_memex_http_requests_total HTTP requests answered.
# TYPE ray_memex_http_requests_total counter
ray_memex_http_requests_total{{method="GET",node="{node}"}} 3.0
# HELP ray_node_cpu Not ours.
# TYPE ray_node_cpu gauge
ray_node_cpu{{node="{node}"}} 1.0
# HELP ray_memex_embedding_duration_seconds Time.
# TYPE ray_memex_embedding_duration_seconds histogram
ray_memex_embedding_duration_seconds_bucket{{le="0.1",node="{node}"}} 2.0
ray_memex_embedding_duration_seconds_bucket{{le="+Inf",node="{node}"}} 2.0
ray_memex_embedding_duration_seconds_count{{node="{node}"}} 2.0
ray_memex_embedding_duration_seconds_sum{{node="{node}"}} 0.1
# HELP ray_serve_num_replicas Replicas.
# TYPE ray_serve_num_replicas gauge
ray_serve_num_replicas{{node="{node}"}} 1.0
"""


def test_nodes_are_merged_into_valid_families() -> None:
    text = "\n".join(merge([NODE.format(node="a"), NODE.format(node="b")])) + "\n"
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert set(families) == {
        "memex_http_requests",
        "memex_embedding_duration_seconds",
        "ray_serve_num_replicas",
    }
    assert len(families["memex_http_requests"].samples) == 2
    assert len(families["memex_embedding_duration_seconds"].samples) == 8
    assert text.count("# TYPE memex_http_requests_total") == 1
