import time
from pathlib import Path

import numpy as np
import pytest

from deployments.domain.ports.embedding import Encoder
from deployments.embedder.encoders.load import load_encoder
from deployments.embedder.encoders.sleeping import SleepingEncoder
from deployments.embedder.settings import DEFAULT_MODEL, EmbeddingSettings

TEXTS = [f"memory {number}" for number in range(50)]


@pytest.fixture
def stand_in() -> Encoder:
    return SleepingEncoder(0.01)


def test_stand_in_returns_unit_vectors(stand_in: Encoder) -> None:
    rows = stand_in.encode([*TEXTS, "", "🙂"], "passage")
    assert rows.shape == (52, 384)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_no_texts_give_no_rows(stand_in: Encoder) -> None:
    assert stand_in.encode([], "query").shape == (0, 384)


def test_vector_depends_on_the_text_only(stand_in: Encoder) -> None:
    in_batch = stand_in.encode(TEXTS, "passage")
    single = SleepingEncoder(0.02).encode([TEXTS[7]], "query")
    assert (in_batch[7] == single[0]).all()
    assert in_batch[7][:2] == pytest.approx([-0.0501, -0.0681], abs=1e-4)


def test_vectors_of_different_texts_are_unrelated(stand_in: Encoder) -> None:
    rows = stand_in.encode(TEXTS, "passage")
    cosines = rows @ rows.T - np.eye(len(TEXTS))
    assert np.abs(cosines).max() < 0.3


def test_stand_in_sleeps_for_each_text() -> None:
    start_s = time.perf_counter()
    SleepingEncoder(10).encode(["a", "b", "c"], "query")
    assert time.perf_counter() - start_s >= 0.03


def test_setting_replaces_the_model_by_the_stand_in(tmp_path: Path) -> None:
    encoder = load_encoder(EmbeddingSettings(stand_in_ms=0.01), tmp_path)
    assert isinstance(encoder, SleepingEncoder)
    assert encoder.identity.name == "stand-in"
    assert encoder.identity.name != DEFAULT_MODEL
    assert list(tmp_path.iterdir()) == []
