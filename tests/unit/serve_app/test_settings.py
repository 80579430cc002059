import re
from pathlib import Path

import pytest

from deployments.domain.errors import BadSetting
from serve_app.settings import ROOT, default_data_dir, load_settings, variables


def test_the_laptop_profile_is_the_default_and_limits_rates() -> None:
    settings = load_settings({})
    assert settings.profile == "laptop"
    assert (settings.rate_limit.writes_per_minute, settings.rate_limit.searches_per_minute) == (
        60,
        120,
    )
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.data_dir == default_data_dir()


@pytest.mark.parametrize("profile", [path.stem for path in (ROOT / "configs").glob("*.yaml")])
def test_every_profile_loads_and_configures_every_deployment(profile: str) -> None:
    settings = load_settings({"MEMEX_PROFILE": profile})
    assert set(settings.deployments) == {"RestIngress", "MemoryStore", "Embedder", "Reranker"}
    assert settings.deployments["Embedder"]["autoscaling_config"]["max_replicas"] >= 2


def test_the_laptop_profile_fits_two_cores() -> None:
    options = load_settings({}).deployments.values()
    cpus = sum(
        entry["ray_actor_options"]["num_cpus"]
        * entry.get("autoscaling_config", {}).get("max_replicas", entry.get("num_replicas", 1))
        for entry in options
    )
    assert cpus <= 2


def test_variables_go_before_the_profile() -> None:
    settings = load_settings(
        {
            "MEMEX_PROFILE": "production",
            "MEMEX_RATE_LIMIT_WRITES_PER_MINUTE": "0",
            "MEMEX_DB_MAX_POOL_SIZE": "3",
            "MEMEX_DB_MIN_POOL_SIZE": "2",
            "MEMEX_EMBEDDING_PRECISION": "fp32",
            "MEMEX_ALLOWED_HOSTS": "Memex.example.org, other",
            "MEMEX_DATA_DIR": "~/somewhere",
            "MEMEX_PORT": "9000",
            "HOME": "/home/x",
        }
    )
    assert settings.rate_limit.writes_per_minute == 0
    assert settings.rate_limit.searches_per_minute == 1200
    assert settings.db.max_pool_size == 3
    assert settings.embedding.precision == "fp32"
    assert settings.allowed_hosts == ("memex.example.org", "other")
    assert settings.data_dir == Path("~/somewhere").expanduser()
    assert settings.port == 9000


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"MEMEX_PROT": "1"}, r"MEMEX_PROT is not a setting \(did you mean MEMEX_PORT\?\)"),
        ({"MEMEX_ZZZZ": "1"}, "MEMEX_ZZZZ is not a setting; see"),
        ({"MEMEX_DEPLOYMENTS": "{}"}, "MEMEX_DEPLOYMENTS is not a setting"),
        ({"MEMEX_PORT": "http"}, "^MEMEX_PORT: "),
        ({"MEMEX_PORT": "70000"}, "^MEMEX_PORT: "),
        ({"MEMEX_EMBEDDING_PRECISION": "int4"}, "^MEMEX_EMBEDDING_PRECISION: .*int8"),
        ({"MEMEX_RATE_LIMIT_WRITES_PER_MINUTE": "-1"}, "^MEMEX_RATE_LIMIT_WRITES_PER_MINUTE: "),
        ({"MEMEX_DB_MIN_POOL_SIZE": "9"}, "^MEMEX_DB_MIN_POOL_SIZE: .*larger"),
        ({"MEMEX_PROFILE": "none"}, "MEMEX_PROFILE: there is no profile 'none'; there are: laptop"),
        ({"MEMEX_PROFILE": "../serve_config"}, "MEMEX_PROFILE"),
        ({"MEMEX_PORT": "x", "MEMEX_HOST": ""}, "MEMEX_HOST: .*; MEMEX_PORT: |MEMEX_PORT: .*; "),
    ],
)
def test_bad_values_are_refused_by_name(environ: dict[str, str], named: str) -> None:
    with pytest.raises(BadSetting, match=named):
        load_settings(environ)


def test_readme_documents_exactly_the_settings_there_are() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(MEMEX_\w+)`", readme, re.MULTILINE)) == set(variables())
