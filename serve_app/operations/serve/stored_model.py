"""The model that the memories are embedded with, as settings: what `memex serve` takes where the
operator has set none, and what it says where another is set."""

from deployments.domain.embeddings import ModelIdentity
from deployments.embedder.settings import DEFAULT_MODEL, EmbeddingSettings
from serve_app.settings import Settings


def is_set(settings: Settings) -> bool:
    """Whether the operator has chosen a model, in the environment or the profile."""
    return bool(settings.embedding.model_fields_set)


def of(stored: ModelIdentity) -> EmbeddingSettings:
    """Those that load that model, or fail to."""
    if stored.name != DEFAULT_MODEL:
        return EmbeddingSettings(model=stored.name)
    return EmbeddingSettings.model_validate({"precision": stored.precision})


def taken(settings: Settings, stored: ModelIdentity) -> Settings:
    """`settings` with that model."""
    return settings.model_copy(update={"embedding": of(stored)})


def variables(stored: ModelIdentity) -> dict[str, str]:
    """The same as an environment."""
    values = {"MEMEX_EMBEDDING_MODEL": stored.name}
    if stored.name == DEFAULT_MODEL:
        values["MEMEX_EMBEDDING_PRECISION"] = stored.precision
    return values
