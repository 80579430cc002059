from pathlib import Path

import pytest
import yaml

from deployments.domain.errors import StartupError
from serve_app.operations.observe import _config, observe
from serve_app.settings import ROOT, load_settings


def test_missing_prometheus_error_names_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartupError, match="apt install prometheus"):
        observe(load_settings({"MEMEX_DATA_DIR": str(tmp_path / "data")}), 9090, None)
    assert list(tmp_path.iterdir()) == []


def test_generated_config_matches_configs() -> None:
    published = yaml.safe_load((ROOT / "configs" / "prometheus.yml").read_text())
    config = _config("192.0.2.1:8123", None)
    assert config["global"] == published["global"]
    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["192.0.2.1:8123"]}]
    assert [entry["job_name"] for entry in published["scrape_configs"]] == [job["job_name"]]
    assert [Path(file).name for file in config["rule_files"]] == published["rule_files"]
    assert all(Path(file).is_file() for file in config["rule_files"])
    frequent = _config("192.0.2.1:8123", 1)
    assert frequent["global"]["scrape_interval"] == "1s"
