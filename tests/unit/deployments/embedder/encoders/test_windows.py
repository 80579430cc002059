import numpy as np
import pytest

from deployments.embedder.encoders.windows import batches_of_equal_length, pool_windows, split


@pytest.mark.parametrize("length", [0, 1, 253, 254, 255, 508, 509, 5_000])
def test_split_covers_every_token_once_in_windows_of_equal_size(length: int) -> None:
    parts = split(length, 254)
    assert [n for start, end in parts for n in range(start, end)] == list(range(length))
    sizes = [end - start for start, end in parts]
    assert max(sizes) <= 254
    assert max(sizes) - min(sizes) <= 1
    assert len(parts) == max(1, -(-length // 254))


def test_batches_need_no_padding_and_stay_within_their_bounds() -> None:
    lengths = [5, 9, 5, 5, 200, 9, 5]
    batches = list(batches_of_equal_length(lengths, max_rows=3, max_tokens=300))
    assert sorted(index for batch in batches for index in batch) == list(range(7))
    for batch in batches:
        assert len({lengths[index] for index in batch}) == 1
        assert len(batch) <= 3
        assert sum(lengths[index] for index in batch) <= 300


def test_window_above_the_token_bound_is_a_batch_of_its_own() -> None:
    assert list(batches_of_equal_length([500], max_rows=32, max_tokens=100)) == [[0]]


def test_pooling_weights_windows_by_their_tokens() -> None:
    rows = np.array([[1, 0], [0, 1], [0, 1]], dtype=np.float32)
    pooled = pool_windows(rows, owners=[0, 0, 1], weights=[3, 4, 7], count=2)
    assert pooled == pytest.approx(np.array([[0.6, 0.8], [0, 1]]))


def test_zero_vector_is_replaced_by_a_unit_vector() -> None:
    rows = np.array([[0, 0], [0, 2]], dtype=np.float32)
    pooled = pool_windows(rows, owners=[0, 1], weights=[1, 1], count=2)
    assert pooled.tolist() == [[1.0, 0.0], [0.0, 1.0]]
