"""What is asked of `memex reembed`, and what `memex serve` takes from the database."""

from dataclasses import replace

import pytest

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.errors import BadSetting, ReembeddingFailed
from deployments.embedder.settings import DEFAULT_MODEL, EmbeddingSettings
from serve_app.operations.reembed.wish import Wish, check_same_run, chosen
from serve_app.operations.serve import stored_model
from serve_app.settings import load_settings

INT8 = ModelIdentity(DEFAULT_MODEL, "1", "int8", 384)
FP32 = replace(INT8, precision="fp32")
BGE = ModelIdentity("BAAI/bge-small-en-v1.5", "1", "as published", 384)


def wish(model: str | None = None, precision: str | None = None) -> Wish:
    return Wish(model, precision, 1)


@pytest.mark.parametrize(
    ("asked", "active", "building", "expected"),
    [
        (wish(precision="fp32"), INT8, None, EmbeddingSettings(precision="fp32")),
        (wish(BGE.name), INT8, None, EmbeddingSettings(model=BGE.name)),
        (wish(DEFAULT_MODEL), BGE, None, EmbeddingSettings()),
        (wish(DEFAULT_MODEL, "fp32"), BGE, None, EmbeddingSettings(precision="fp32")),
        (wish(), INT8, FP32, EmbeddingSettings(precision="fp32")),
        (wish(), FP32, BGE, EmbeddingSettings(model=BGE.name)),
    ],
)
def test_what_is_not_said_is_as_it_was(
    asked: Wish, active: ModelIdentity, building: ModelIdentity | None, expected: EmbeddingSettings
) -> None:
    assert chosen(asked, active, building) == expected


def test_what_cannot_be_asked_is_said() -> None:
    with pytest.raises(ReembeddingFailed, match="no memories to move"):
        chosen(wish(precision="fp32"), None, None)
    with pytest.raises(ReembeddingFailed, match="--model"):
        chosen(wish(), INT8, None)
    with pytest.raises(BadSetting, match="--precision"):
        chosen(wish(BGE.name, "fp32"), INT8, None)
    with pytest.raises(ReembeddingFailed, match="--abandon"):  # before anything is downloaded
        chosen(wish(BGE.name), INT8, FP32)
    with pytest.raises(ReembeddingFailed, match="--abandon"):
        check_same_run(FP32, BGE)
    check_same_run(FP32, FP32)
    check_same_run(FP32, None)


def test_a_model_is_taken_from_the_database_unless_one_is_set() -> None:
    plain = load_settings({})
    assert not stored_model.is_set(plain)
    for name, value in (("MODEL", BGE.name), ("PRECISION", "int8"), ("STAND_IN_MS", "1")):
        assert stored_model.is_set(load_settings({f"MEMEX_EMBEDDING_{name}": value}))
    for stored in (INT8, FP32, BGE):
        taken = stored_model.taken(plain, stored)
        assert (taken.embedding.model, taken.port) == (stored.name, plain.port)
        by_replicas = load_settings(stored_model.variables(stored))
        assert by_replicas.embedding == taken.embedding
    assert stored_model.of(FP32).precision == "fp32"
