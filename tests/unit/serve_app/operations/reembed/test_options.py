"""The model that `memex reembed` chooses, and the one that `memex serve` finds in the database."""

from dataclasses import replace

import pytest

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.errors import BadSetting, ReembeddingFailed
from deployments.embedder.settings import DEFAULT_MODEL, EmbeddingSettings
from serve_app.operations.reembed.options import Options, check_same_run, chosen_model
from serve_app.operations.serve import stored_model
from serve_app.settings import load_settings

INT8 = ModelIdentity(DEFAULT_MODEL, "1", "int8", 384)
FP32 = replace(INT8, precision="fp32")
BGE = ModelIdentity("BAAI/bge-small-en-v1.5", "1", "as published", 384)


def options(model: str | None = None, precision: str | None = None) -> Options:
    return Options(model, precision, 1)


@pytest.mark.parametrize(
    ("requested", "active", "building", "expected"),
    [
        (options(precision="fp32"), INT8, None, EmbeddingSettings(precision="fp32")),
        (options(BGE.name), INT8, None, EmbeddingSettings(model=BGE.name)),
        (options(DEFAULT_MODEL), BGE, None, EmbeddingSettings()),
        (options(DEFAULT_MODEL, "fp32"), BGE, None, EmbeddingSettings(precision="fp32")),
        (options(), INT8, FP32, EmbeddingSettings(precision="fp32")),
        (options(), FP32, BGE, EmbeddingSettings(model=BGE.name)),
    ],
)
def test_unset_options_default_to_the_new_or_current_model(
    requested: Options,
    active: ModelIdentity,
    building: ModelIdentity | None,
    expected: EmbeddingSettings,
) -> None:
    assert chosen_model(requested, active, building) == expected


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ReembeddingFailed, match="no memories to move"):
        chosen_model(options(precision="fp32"), None, None)
    with pytest.raises(ReembeddingFailed, match="--model"):
        chosen_model(options(), INT8, None)
    with pytest.raises(BadSetting, match="--precision"):
        chosen_model(options(BGE.name, "fp32"), INT8, None)
    with pytest.raises(ReembeddingFailed, match="--abandon"):  # before anything is downloaded
        chosen_model(options(BGE.name), INT8, FP32)
    with pytest.raises(ReembeddingFailed, match="--abandon"):
        check_same_run(FP32, BGE)
    check_same_run(FP32, FP32)
    check_same_run(FP32, None)


def test_model_comes_from_the_database_unless_set() -> None:
    plain = load_settings({})
    assert not stored_model.is_set(plain)
    for name, value in (("MODEL", BGE.name), ("PRECISION", "int8"), ("STAND_IN_MS", "1")):
        assert stored_model.is_set(load_settings({f"MEMEX_EMBEDDING_{name}": value}))
    for stored in (INT8, FP32, BGE):
        taken = stored_model.with_model(plain, stored)
        assert (taken.embedding.model, taken.port) == (stored.name, plain.port)
        by_replicas = load_settings(stored_model.variables(stored))
        assert by_replicas.embedding == taken.embedding
    assert stored_model.embedding_settings(FP32).precision == "fp32"
