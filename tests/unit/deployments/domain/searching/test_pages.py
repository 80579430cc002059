import math
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest

from deployments.domain.searching.pages import (
    END_BONUS,
    NEAR_COSINE,
    Found,
    HitPage,
    page_of,
)


def found(*scores_and_angles: tuple[float, float], ids: Sequence[int] = ()) -> Found[int]:
    """Candidates in a plane, whose angles are in degrees; their items are their ids, or numbers."""
    numbers = ids or range(len(scores_and_angles))
    angles = [math.radians(angle) for _, angle in scores_and_angles]
    return Found(
        list(numbers),
        [UUID(int=number) for number in numbers],
        [score for score, _ in scores_and_angles],
        np.array([(math.cos(angle), math.sin(angle)) for angle in angles], dtype=np.float32),
    )


def without_embeddings(search: Found[int]) -> Found[int]:
    return replace(search, embeddings=None)


def items(page: HitPage[int]) -> list[int]:
    return [hit.item for hit in page.hits]


COPIES = found((0.9, 0), (0.89, 0), (0.88, 0), (0.87, 0), (0.75, 90), (0.7, 180))


def test_copies_move_down_the_more_of_them_come_before() -> None:
    page = page_of([COPIES], 5, 0.1)
    assert items(page) == [0, 1, 4, 5, 2]
    assert [hit.penalty for hit in page.hits] == pytest.approx([0, 0.1, 0, 0, 0.2])
    assert page.is_complete


def test_without_diversity_hits_are_in_the_order_of_their_scores() -> None:
    page = page_of([COPIES], 5, 0.0)
    assert items(page) == [0, 1, 2, 3, 4]
    assert {hit.penalty for hit in page.hits} == {0}


def test_full_diversity_puts_copies_last() -> None:
    assert items(page_of([COPIES], 6, 1.0)) == [0, 4, 5, 1, 2, 3]


def test_merely_related_memories_have_no_penalty() -> None:
    angle = math.degrees(math.acos(NEAR_COSINE)) + 0.5
    page = page_of([found((0.9, 0), (0.8, angle), (0.7, 2 * angle))], 3, 1.0)
    assert items(page) == [0, 1, 2]
    assert {hit.penalty for hit in page.hits} == {0}
    assert [hit.similar_ids for hit in page.hits] == [(), (), ()]


@pytest.mark.parametrize(("angle", "penalty"), [(0, 0.1), (15, 0.1), (20, 0.09), (25, 0.056)])
def test_nearer_copies_have_higher_penalties(angle: float, penalty: float) -> None:
    _, second = page_of([found((0.9, 0), (0.9, angle))], 2, 0.1).hits
    assert second.penalty == pytest.approx(penalty, abs=1e-3)


def test_hits_name_their_near_copies_on_and_off_the_page() -> None:
    page = page_of([COPIES], 3, 0.1)
    assert items(page) == [0, 1, 4]
    assert [sorted(i.int for i in hit.similar_ids) for hit in page.hits] == [
        [1, 2, 3],
        [0, 2, 3],
        [],
    ]


def test_many_candidates_are_chosen_from_as_few_are() -> None:
    many = found(*((0.9 - n / 1_000, 0) for n in range(200)), (0.65, 90), (0.6, 180))
    assert items(page_of([many], 5, 0.1)) == [0, 1, 2, 200, 201]


@pytest.mark.parametrize(
    ("limit", "is_complete"),
    [(None, True), (7, True), (6, False)],
)
def test_page_is_incomplete_if_unseen_candidates_could_be_better(
    limit: int | None, is_complete: bool
) -> None:
    """The last hit, a third copy, has 0.68; the last candidate has 0.7."""
    assert page_of([COPIES], 5, 0.1, limit).is_complete is is_complete


def test_page_without_copies_is_complete_however_many_candidates_follow() -> None:
    distinct = found((0.9, 0), (0.8, 90), (0.7, 180))
    assert page_of([distinct], 3, 0.1, limit=3).is_complete


def test_each_chunk_has_a_say_and_a_memory_counts_by_its_best() -> None:
    first = found((0.5, 0), (0.3, 90))
    flat = found((0.9, 180), (0.9, 200), (0.88, 220), (0.86, 240), ids=[2, 3, 4, 5])
    last = found((0.6, 300), (0.39, 90), ids=[6, 1])
    parts = [without_embeddings(part) for part in (first, flat, last)]
    page = page_of(parts, 4, 0.0)
    assert items(page) == [6, 0, 2, 3]
    assert [hit.search for hit in page.hits] == [2, 0, 1, 1]
    whole = page_of(parts, 50, 0.0)
    assert sorted(items(whole)) == [0, 1, 2, 3, 4, 5, 6]
    assert {hit.item: hit.search for hit in whole.hits}[1] == 0


def test_ends_have_a_bonus() -> None:
    parts = [
        found((0.5, 0), (0.5 - END_BONUS / 2, 90)),
        found((0.9, 180), ids=[2]),
        found((0.6, 270), ids=[3]),
    ]
    assert items(page_of(parts, 4, 0.0)) == [3, 0, 1, 2]


def test_copies_found_by_different_chunks_are_near_copies_too() -> None:
    parts = [
        found((0.9, 0)),
        found((0.9, 0), (0.85, 90), ids=[1, 2]),
        found((0.9, 180), ids=[3]),
    ]
    assert items(page_of(parts, 3, 0.2)) == [0, 3, 2]


def test_chunk_of_equal_scores_does_not_come_before_others() -> None:
    flat = found(*((1.0, 10 * n) for n in range(20)))
    other = found((1.0, 300), ids=[20])
    assert set(items(page_of([flat, other], 2, 0.0))) == {0, 20}


def test_nothing_found_is_an_empty_page() -> None:
    nothing: Found[int] = Found([], [], [], np.empty((0, 0), dtype=np.float32))
    for none in (nothing, without_embeddings(nothing)):
        assert page_of([none], 5, 0.1, 7) == HitPage([])
        assert page_of([none, none, none], 5, 0.1, 7) == HitPage([])
    assert items(page_of([nothing, found((0.5, 0))], 5, 0.1, 7)) == [0]
