"""The application's settings: a profile, overridden by `MEMEX_…` variables.

Every field of a section is a variable: `embedding.model` is MEMEX_EMBEDDING_MODEL. So is every
field outside the sections: `host` is MEMEX_HOST. The database's address, DATABASE_URL, is a secret
and no part of the settings: the replicas read it themselves.
"""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import platformdirs
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from deployments.domain.errors import BadSetting
from deployments.embedder.settings import EmbeddingSettings
from deployments.reranker.settings import RerankerSettings
from deployments.store.settings import Dedup, SearchSettings, StoreSettings
from deployments.summariser.settings import SummarizationSettings

ROOT = Path(__file__).resolve().parents[1]
"""The folder of configs/, migrations/ and serve_config.yaml."""

DATABASE_URL = "DATABASE_URL"
_PREFIX = "MEMEX_"


def _split_names(value: object) -> object:
    if isinstance(value, str):
        return tuple(name.strip().lower() for name in value.split(",") if name.strip())
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_split_names)]


class RateLimitSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    writes_per_minute: int = Field(
        60, ge=0, le=6_000, description="Writes of one agent in any 60 s; 0 means no limit."
    )
    searches_per_minute: int = Field(
        120, ge=0, le=6_000, description="Searches of one agent in any 60 s; 0 means no limit."
    )


class EdgeSettings(BaseModel):
    """How each ingress replica calls the embedder and the store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calls_in_flight: int = Field(
        2, ge=1, le=10_000, description="Calls of a kind at once; further callers share the next."
    )
    max_batch: int = Field(32, ge=1, le=256, description="Callers that may share one call.")
    max_waiting: int = Field(
        512, ge=0, description="Callers that may wait for a call; further ones get 503 at once."
    )
    max_wait_ms: float = Field(
        500,
        ge=0,
        description="If a caller has waited longer than this for a call, further ones get 503 at "
        "once.",
    )
    cache_mib: int = Field(
        64, ge=0, description="Memory for embeddings of recent texts; 0 means no cache."
    )


class McpSettings(BaseModel):
    """Who may call the MCP ingress."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allowed_hosts: Names = Field(
        (),
        description="Host names, separated by commas, that the MCP ingress accepts besides "
        "loopback; * accepts any.",
    )
    allowed_origins: Names = Field(
        (),
        description="Origins, separated by commas, such as https://app.example.org, from whose "
        "pages the MCP ingress accepts calls, besides loopback's; * accepts any.",
    )


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: str = Field(
        "laptop",
        description="The name of a file in configs/ without .yaml, or the path of a YAML file.",
    )
    data_dir: Path = Field(
        default_factory=lambda: default_data_dir(),
        description="The folder of the embedded Postgres, the models and Ray's files.",
    )
    host: str = Field("127.0.0.1", min_length=1, description="The address to listen on.")
    port: int = Field(8000, ge=1, le=65_535, description="The API's port.")
    dashboard_port: int = Field(8265, ge=1, le=65_535, description="The Ray dashboard's port.")
    allowed_hosts: Names = Field(
        (),
        description="Host names, separated by commas, that the API accepts besides loopback; "
        "* accepts any.",
    )
    request_timeout_s: float = Field(
        15.0, gt=0, description="How long a request may wait for one call to a deployment."
    )
    dedup: Dedup = Field(
        "off",
        description="If the scope holds an identical memory: off stores a second copy, touch "
        "refreshes the existing one's created_at.",
    )
    metrics: bool = Field(True, description="Whether memex records metrics: on or off.")
    list_agents: bool = Field(
        True, description="Whether the API lists all agents to anyone who can reach it."
    )
    embedding: EmbeddingSettings = EmbeddingSettings()
    search: SearchSettings = SearchSettings()
    reranker: RerankerSettings = RerankerSettings()
    db: StoreSettings = StoreSettings()
    edge: EdgeSettings = EdgeSettings()
    rate_limit: RateLimitSettings = RateLimitSettings()
    mcp: McpSettings = McpSettings()
    summarization: SummarizationSettings = SummarizationSettings()
    deployments: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Ray Serve's options for each deployment; only a profile can set them.",
    )

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @property
    def models_dir(self) -> Path:
        return self.data_dir / "models"


_SECTIONS = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
_NOT_VARIABLES = {"deployments"}


def variables() -> dict[str, tuple[str, ...]]:
    """Every MEMEX_… variable, with the path of the field that it sets."""
    paths: dict[str, tuple[str, ...]] = {}
    for name in Settings.model_fields:
        if name in _SECTIONS:
            for part in _SECTIONS[name].model_fields:
                paths[f"{_PREFIX}{name}_{part}".upper()] = (name, part)
        elif name not in _NOT_VARIABLES:
            paths[f"{_PREFIX}{name}".upper()] = (name,)
    return paths


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """The profile's values, overridden by the environment's. Raises BadSetting, which names the
    variable."""
    known = variables()
    assigned = {name: value for name, value in environ.items() if name.startswith(_PREFIX)}
    for name in assigned:
        if name not in known:
            raise BadSetting(
                f"{name} is not a setting{_suggestion(name, known)}; see docs/reference/settings.md"
            )
    profile = assigned.get(f"{_PREFIX}PROFILE", "laptop")
    values = {**_read_profile(profile), "profile": profile}
    for name, value in assigned.items():
        section, *rest = known[name]
        if rest:
            values[section] = {**values.get(section, {}), rest[0]: value}
        else:
            values[section] = value
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        messages = (_message(entry, assigned) for entry in error.errors())
        raise BadSetting("; ".join(messages)) from None


def default_data_dir() -> Path:
    """The platform's folder for a user's data. For root, a folder outside root's home: Postgres
    does not run as root, and its own user must reach the folder."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/memex")
    return Path(platformdirs.user_data_dir("memex", appauthor=False))


def _read_profile(name: str) -> dict[str, Any]:
    if "/" in name or name.endswith(".yaml"):
        return _read_profile_file(name)
    path = ROOT / "configs" / f"{name}.yaml"
    if not name.replace("-", "").replace("_", "").isalnum() or not path.is_file():
        known = ", ".join(sorted(file.stem for file in (ROOT / "configs").glob("*.yaml")))
        raise BadSetting(
            f"MEMEX_PROFILE: profile {name!r} does not exist; use one of {known}, "
            "or the path of a YAML file"
        )
    return _read_profile_file(str(path))


def _read_profile_file(path: str) -> dict[str, Any]:
    """Raises BadSetting. A relative path starts at the process's working folder."""
    try:
        values = yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, RuntimeError) as error:  # RuntimeError: unknown ~user
        reason = getattr(error, "strerror", None) or str(error)
        raise BadSetting(f"MEMEX_PROFILE: cannot read {path} ({reason})") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise BadSetting(f"MEMEX_PROFILE: {path} is not YAML ({reason})") from None
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise BadSetting(f"MEMEX_PROFILE: {path} must map setting names to values")
    for section in _SECTIONS:
        if not isinstance(values.get(section, {}), dict):
            raise BadSetting(f"MEMEX_PROFILE: {path}: {section} must map setting names to values")
    return values


def _suggestion(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f" (did you mean {close[0]}?)" if close else ""


def _message(entry: Any, assigned: Mapping[str, str]) -> str:
    """The error of one value, after the names of the variables that set it."""
    path = tuple(str(part) for part in entry["loc"])
    reason = entry["msg"].removeprefix("Value error, ")
    names = [name for name, field in variables().items() if field == path[: len(field)]]
    if not names and path and path[0] in _SECTIONS:  # an error of a section as a whole
        names = [
            name for name, field in variables().items() if field[0] == path[0] and name in assigned
        ]
    subject = " and ".join(names) or "the profile's " + ".".join(path)
    return f"{subject}: {reason}"
