import json
import re

from serve_app.settings import ROOT

GRAFANA = ROOT / "configs" / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "memex.json").read_text(encoding="utf-8"))


def test_panels_have_unique_ids_positions_and_titles() -> None:
    panels = DASHBOARD["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


def test_panels_have_the_options_of_their_type() -> None:
    expected = {"timeseries": {"legend", "tooltip"}, "stat": {"reduceOptions", "textMode"}}
    for panel in DASHBOARD["panels"]:
        assert expected[panel["type"]] <= panel["options"].keys(), panel["title"]
        if panel["type"] == "timeseries":
            assert panel["options"].keys() == expected["timeseries"], panel["title"]
            assert panel["options"]["legend"]["showLegend"], panel["title"]
        else:
            assert not panel["options"].keys() & expected["timeseries"], panel["title"]


def test_queries_use_documented_metrics() -> None:
    documented = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    expressions = [t["expr"] for panel in DASHBOARD["panels"] for t in panel["targets"]]
    for expression in expressions:
        for name in re.findall(r"\bmemex_\w+", expression):
            assert f"`{re.sub('_(bucket|sum|count)$', '', name)}`" in documented
        assert set(re.findall(r"\[(.*?)\]", expression)) <= {"$__rate_interval"}
