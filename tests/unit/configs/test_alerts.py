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
def test_promtool_accepts_the_rules_and_the_config(command: list[str]) -> None:
    result = subprocess.run(["promtool", *command], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_each_alert_is_tested_firing_and_not_firing() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = {rule["alert"] for group in groups for rule in group["rules"]}
    tested = {
        (case["alertname"], bool(case["exp_alerts"]))
        for test in yaml.safe_load(TESTS.read_text())["tests"]
        for case in test["alert_rule_test"]
    }
    assert tested == {(rule, fires) for rule in rules for fires in (True, False)}
