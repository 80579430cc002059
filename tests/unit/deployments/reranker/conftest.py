from pathlib import Path

import pytest
from fastembed.common.model_description import ModelSource
from fastembed.rerank.cross_encoder import TextCrossEncoder

from tests.support.models.cross_encoder import NAME, put_into


@pytest.fixture(scope="session")
def cross_encoders_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model cache that has the model NAME."""
    cache = tmp_path_factory.mktemp("models")
    put_into(cache, NAME)
    TextCrossEncoder.add_custom_model(model=NAME, sources=ModelSource(hf=NAME))
    return cache
