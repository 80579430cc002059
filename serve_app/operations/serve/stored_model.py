"""The model that the memories are embedded with, as settings. `memex serve` uses it if the operator
has set none, and names it if another is set."""

from deployments.domain.embeddings import ModelIdentity
from deployments.embedder.settings import DEFAULT_MODEL, EmbeddingSettings
from serve_app.settings import Settings


def is_set(settings: Settings) -> bool:
    """Whether the operator has chosen a model, in the environment or the profile."""
    return bool(settings.embedding.model_fields_set)


def embedding_settings(stored: ModelIdentity) -> EmbeddingSettings:
    """The settings that load that model, if it is available."""
    if stored.name != DEFAULT_MODEL:
        return EmbeddingSettings(model=stored.name)
    return EmbeddingSettings.model_validate({"precision": stored.precision})


def with_model(settings: Settings, stored: ModelIdentity) -> Settings:
    """`settings` with that model."""
    return settings.model_copy(update={"embedding": embedding_settings(stored)})


def variables(stored: ModelIdentity) -> dict[str, str]:
    """The same as environment variables."""
    values = {"MEMEX_EMBEDDING_MODEL": stored.name}
    if stored.name == DEFAULT_MODEL:
        values["MEMEX_EMBEDDING_PRECISION"] = stored.precision
    return values
