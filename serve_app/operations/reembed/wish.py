"""What is asked for, and which model that is."""

from dataclasses import dataclass

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.errors import BadSetting, ReembeddingFailed
from deployments.embedder.settings import DEFAULT_MODEL, EmbeddingSettings


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for; None: as it is, or as the run in progress has it."""

    model: str | None
    precision: str | None
    parallel: int


def chosen(
    wish: Wish, active: ModelIdentity | None, building: ModelIdentity | None
) -> EmbeddingSettings:
    """The model to move to. Raises ReembeddingFailed, BadSetting."""
    base = building or active
    if base is None:
        raise ReembeddingFailed(
            "there are no memories to move: set MEMEX_EMBEDDING_MODEL and "
            "MEMEX_EMBEDDING_PRECISION instead"
        )
    if wish.model is None and wish.precision is None and building is None:
        raise ReembeddingFailed("say where to: --model, --precision, or both")
    model = wish.model or base.name
    if building is not None and model != building.name:
        raise _other_run(building)
    if wish.precision is not None and model != DEFAULT_MODEL:
        raise BadSetting(f"--precision is of {DEFAULT_MODEL}; {model} has that of its file")
    precision = wish.precision or (base.precision if model == base.name else "int8")
    if model != DEFAULT_MODEL:
        return EmbeddingSettings(model=model)
    return EmbeddingSettings.model_validate({"model": model, "precision": precision})


def check_same_run(identity: ModelIdentity, building: ModelIdentity | None) -> None:
    """Raises ReembeddingFailed where a run to another model is in progress."""
    if building is not None and building != identity:
        raise _other_run(building)


def _other_run(building: ModelIdentity) -> ReembeddingFailed:
    return ReembeddingFailed(
        f"a run to {building} is in progress: go on with it (`memex reembed`), or give it up "
        "(`memex reembed --abandon`)"
    )
