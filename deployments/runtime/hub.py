"""Models of the hub, which fastembed downloads and loads."""

from pathlib import Path
from typing import Any

from loguru import logger

from deployments.domain.errors import BadSetting, ModelUnavailable


def load(kind: Any, setting: str, model: str, cache_dir: Path, threads: int, **options: Any) -> Any:
    """A model of `kind` (a class of fastembed), downloaded where it is not in `cache_dir`.

    `setting` is the variable that `model` stands in. Raises BadSetting where fastembed does not
    know the model, ModelUnavailable where it cannot be had.
    """
    known = {entry["model"].lower() for entry in kind.list_supported_models()}
    if model.lower() not in known:
        raise BadSetting(
            f"{setting}: {model!r} is no model that fastembed supports "
            "(https://qdrant.github.io/fastembed/examples/Supported_Models/)"
        )
    logger.disable("fastembed")  # it reports each of its tries; what comes of them is said below
    try:
        return kind(model, cache_dir=str(cache_dir), threads=threads, **options)
    except Exception as error:  # fastembed and its hub client raise a dozen unrelated classes
        raise ModelUnavailable(
            f"{setting}: {model} could not be downloaded or loaded "
            f"({type(error).__name__}). It is fetched from the model hub at the first start: check "
            "the network, or set a model that is already there"
        ) from error
