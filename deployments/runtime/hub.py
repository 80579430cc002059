"""Models of the model hub, which fastembed downloads and loads."""

from pathlib import Path
from typing import Any

from loguru import logger

from deployments.domain.errors import BadSetting, ModelUnavailable


def load(kind: Any, setting: str, model: str, cache_dir: Path, threads: int, **options: Any) -> Any:
    """A model of `kind` (a class of fastembed), downloaded if it is not in `cache_dir`.

    `setting` is the variable that names `model`. Raises BadSetting if fastembed does not support
    the model, ModelUnavailable if it cannot be downloaded or loaded.
    """
    supported = {entry["model"].lower() for entry in kind.list_supported_models()}
    if model.lower() not in supported:
        raise BadSetting(
            f"{setting}: fastembed does not support the model {model!r}; choose one of "
            "https://qdrant.github.io/fastembed/examples/Supported_Models/"
        )
    logger.disable("fastembed")  # it logs each attempt; the error below reports the result
    try:
        return kind(model, cache_dir=str(cache_dir), threads=threads, **options)
    except Exception as error:  # fastembed and its hub client raise a dozen unrelated classes
        raise ModelUnavailable(
            f"{setting}: {model} could not be downloaded or loaded "
            f"({type(error).__name__}). The first start downloads it from the model hub: check the "
            "network, or set a model that is already downloaded"
        ) from error
