import re
from pathlib import Path

import pytest

from deployments.domain.errors import BadSetting
from serve_app.settings import ROOT, default_data_dir, load_settings, variables


def test_laptop_profile_is_the_default_and_limits_rates() -> None:
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
    assert set(settings.deployments) == {
        "RestIngress",
        "McpIngress",
        "MemoryStore",
        "Embedder",
        "Reranker",
        "Summariser",
    }
    assert settings.deployments["Embedder"]["autoscaling_config"]["max_replicas"] >= 2


def test_profile_can_be_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text("port: 9000\ndeployments:\n  Embedder: {num_replicas: 3}\n")
    (tmp_path / "mine").write_text("port: 9001")
    (tmp_path / "empty.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for profile in (f"{tmp_path}/mine.yaml", "mine.yaml", "~/mine.yaml"):
        settings = load_settings({"MEMEX_PROFILE": profile, "MEMEX_EDGE_MAX_BATCH": "1"})
        assert (settings.port, settings.edge.max_batch) == (9000, 1)
        assert settings.deployments == {"Embedder": {"num_replicas": 3}}
    assert load_settings({"MEMEX_PROFILE": "./mine"}).port == 9001
    assert load_settings({"MEMEX_PROFILE": "empty.yaml"}).port == 8000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- port", r"mine.yaml must map setting names to values$"),
        ("0", r"mine.yaml must map setting names to values$"),
        ("db:", r"mine.yaml: db must map setting names to values$"),
        ("port: [", r"mine.yaml is not YAML \(.*line 1.*\)$"),
        ("\xff", r"mine.yaml is not YAML \("),
        ("prot: 1", "^the profile's prot: "),
    ],
)
def test_invalid_profile_file_is_a_one_line_error(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(BadSetting, match=message) as raised:
        load_settings({"MEMEX_PROFILE": str(path), "MEMEX_DB_MIN_POOL_SIZE": "1"})
    assert "\n" not in str(raised.value)


def test_unreadable_profile_file_is_named(tmp_path: Path) -> None:
    for path in (f"{tmp_path}/none.yaml", f"{tmp_path}/", "none.yaml", "~nobody-here/none.yaml"):
        with pytest.raises(BadSetting, match=f"^MEMEX_PROFILE: cannot read {path} \\("):
            load_settings({"MEMEX_PROFILE": path})


def test_variables_override_the_profile() -> None:
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
    ("environ", "message"),
    [
        ({"MEMEX_PROT": "1"}, r"MEMEX_PROT is not a setting \(did you mean MEMEX_PORT\?\)"),
        ({"MEMEX_ZZZZ": "1"}, "MEMEX_ZZZZ is not a setting; see"),
        ({"MEMEX_DEPLOYMENTS": "{}"}, "MEMEX_DEPLOYMENTS is not a setting"),
        ({"MEMEX_PORT": "http"}, "^MEMEX_PORT: "),
        ({"MEMEX_PORT": "70000"}, "^MEMEX_PORT: "),
        ({"MEMEX_EMBEDDING_PRECISION": "int4"}, "^MEMEX_EMBEDDING_PRECISION: .*int8"),
        ({"MEMEX_RATE_LIMIT_WRITES_PER_MINUTE": "-1"}, "^MEMEX_RATE_LIMIT_WRITES_PER_MINUTE: "),
        ({"MEMEX_DB_MIN_POOL_SIZE": "9"}, "^MEMEX_DB_MIN_POOL_SIZE: .*larger"),
        (
            {"MEMEX_PROFILE": "none"},
            "MEMEX_PROFILE: profile 'none' does not exist; use one of laptop",
        ),
        ({"MEMEX_PROFILE": "../serve_config"}, "^MEMEX_PROFILE: cannot read ../serve_config"),
        ({"MEMEX_PROFILE": ""}, "^MEMEX_PROFILE: profile '' does not exist"),
        ({"MEMEX_EMBEDDING_STAND_IN_MS": "-1"}, "^MEMEX_EMBEDDING_STAND_IN_MS: "),
        ({"MEMEX_EMBEDDING_STAND_IN_MS": "inf"}, "^MEMEX_EMBEDDING_STAND_IN_MS: "),
        ({"MEMEX_PORT": "x", "MEMEX_HOST": ""}, "MEMEX_HOST: .*; MEMEX_PORT: |MEMEX_PORT: .*; "),
    ],
)
def test_invalid_values_are_refused_by_name(environ: dict[str, str], message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        load_settings(environ)


def test_docs_list_exactly_the_existing_settings() -> None:
    rows = rows_of_settings("docs/reference/settings.md")
    assert {name for name, _ in rows if name.startswith("MEMEX_")} == set(variables())


def test_readme_settings_match_the_docs() -> None:
    some = rows_of_settings("README.md")
    assert len(some) > 5
    links = {"](docs/reference/": "](", "](docs/": "](../"}
    for link, there in links.items():
        some = [(name, what.replace(link, there)) for name, what in some]
    assert dict(some).items() <= dict(rows_of_settings("docs/reference/settings.md")).items()


def rows_of_settings(document: str) -> list[tuple[str, str]]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(r"^\| `(MEMEX_\w+|DATABASE_URL)` \| (.*)$", text, re.MULTILINE)


def test_laptop_profile_fits_two_cores_at_max_replicas() -> None:
    deployments = load_settings({}).deployments.values()
    cpus = sum(
        options["ray_actor_options"]["num_cpus"]
        * (options.get("num_replicas") or options["autoscaling_config"]["max_replicas"])
        for options in deployments
    )
    assert cpus <= 2
