"""The command's options, and the model that they choose."""

from dataclasses import dataclass

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.errors import BadSetting, ReembeddingFailed
from deployments.embedder.settings import DEFAULT_MODEL, EmbeddingSettings


@dataclass(frozen=True, slots=True)
class Options:
    """The command's options; None keeps the value of the run in progress, or of the memories."""

    model: str | None
    precision: str | None
    parallel: int


def chosen_model(
    options: Options, active: ModelIdentity | None, building: ModelIdentity | None
) -> EmbeddingSettings:
    """The model to move to. Raises ReembeddingFailed, BadSetting."""
    base = building or active
    if base is None:
        raise ReembeddingFailed(
            "there are no memories to move: set MEMEX_EMBEDDING_MODEL and "
            "MEMEX_EMBEDDING_PRECISION instead"
        )
    if options.model is None and options.precision is None and building is None:
        raise ReembeddingFailed("name the new model: set --model, --precision, or both")
    model = options.model or base.name
    if building is not None and model != building.name:
        raise _other_run(building)
    if options.precision is not None and model != DEFAULT_MODEL:
        raise BadSetting(f"--precision is only for {DEFAULT_MODEL}, not for {model}")
    precision = options.precision or (base.precision if model == base.name else "int8")
    if model != DEFAULT_MODEL:
        return EmbeddingSettings(model=model)
    return EmbeddingSettings.model_validate({"model": model, "precision": precision})


def check_same_run(identity: ModelIdentity, building: ModelIdentity | None) -> None:
    """Raises ReembeddingFailed if a run to another model is in progress."""
    if building is not None and building != identity:
        raise _other_run(building)


def _other_run(building: ModelIdentity) -> ReembeddingFailed:
    return ReembeddingFailed(
        f"a run to {building} is in progress: continue it (`memex reembed`) or abandon it "
        "(`memex reembed --abandon`)"
    )
