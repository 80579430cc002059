import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from serve_app.settings import ROOT

RULES = ROOT / "configs" / "alerts.yml"
TESTS = Path(__file__).with_name("rules_test.yml")
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is not installed; Debian's package prometheus has it",
)


@needs_promtool
@pytest.mark.parametrize(
    "command",
    [
        ["test", "rules", str(TESTS)],
        ["check", "config", str(ROOT / "configs" / "prometheus.yml")],
    ],
)
def test_promtool_is_content(command: list[str]) -> None:
    done = subprocess.run(["promtool", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_of_each_rule_it_is_tried_when_it_fires_and_when_not() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = {rule["alert"] for group in groups for rule in group["rules"]}
    tried = {
        (case["alertname"], bool(case["exp_alerts"]))
        for test in yaml.safe_load(TESTS.read_text())["tests"]
        for case in test["alert_rule_test"]
    }
    assert tried == {(rule, fires) for rule in rules for fires in (True, False)}
