"""Splits token lists into windows that fit the model, and pools the windows' embeddings."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from deployments.domain.embeddings import Embeddings


def split(length: int, window: int) -> list[tuple[int, int]]:
    """`[start, end)` of the fewest windows of at most `window` tokens, as even as possible.

    Even, because a last window of three tokens would mean little but cost as much per call. A text
    without tokens has one empty window.
    """
    count = max(1, -(-length // window))
    edges = [round(i * length / count) for i in range(count + 1)]
    return list(itertools.pairwise(edges))


def batches_of_equal_length(
    lengths: Sequence[int], max_rows: int, max_tokens: int
) -> Iterator[list[int]]:
    """The indices of `lengths`, in batches of equal length, so that no row needs padding; longest
    first. A batch has at most `max_rows` rows and `max_tokens` tokens, but at least one row."""
    by_length: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        by_length.setdefault(length, []).append(index)
    for length in sorted(by_length, reverse=True):
        rows = max(1, min(max_rows, max_tokens // max(1, length)))
        group = by_length[length]
        for start in range(0, len(group), rows):
            yield group[start : start + rows]


def pool_windows(
    embeddings: Embeddings, owners: Sequence[int], weights: Sequence[int], count: int
) -> Embeddings:
    """`(count, D) float32`: an L2-normalised row for each text.

    `embeddings` is `(W, D)`, a row for each window; `owners[w]` is the text of window w and
    `weights[w]` its number of tokens. A text's row is the weighted mean of its windows' rows, which
    would be mean pooling over all its tokens if the windows' rows were not normalised.
    """
    pooled = np.zeros((count, embeddings.shape[1]), dtype=np.float32)
    np.add.at(pooled, list(owners), embeddings * np.asarray(weights, np.float32)[:, None])
    norms = np.linalg.norm(pooled, axis=1, keepdims=True)
    # A static model ignores unknown words, so a text with only those is a zero vector. That has no
    # direction, so all such texts get the same one.
    pooled[norms[:, 0] == 0, 0] = norms[norms == 0] = 1.0
    unit: Embeddings = pooled / norms
    return unit
