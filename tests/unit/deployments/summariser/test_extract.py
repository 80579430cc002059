"""Which sentences stand for many memories."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from deployments.analyzer import Analyzer
from deployments.domain.ports.embedding import Encoder
from deployments.domain.summaries import Source
from deployments.runtime.ids import uuid7
from deployments.summariser.extract import extract
from deployments.summariser.settings import Method
from tests.support.fakes.embedder import embed_words
from tests.support.summary_quality import fact_recall

START = datetime(2025, 1, 1, tzinfo=UTC)
METHODS: tuple[Method, ...] = ("frequency", "diversity")


def sources(*contents: str) -> list[Source]:
    return [
        Source(uuid7(), content, embed_words(content), 1.0, {}, START + timedelta(hours=n), START)
        for n, content in enumerate(contents)
    ]


def extracted(
    contents: Sequence[str], method: Method, sentences: int = 20, characters: int = 8_000
) -> list[str]:
    return extract(sources(*contents), Analyzer("english"), method, sentences, characters)


@pytest.mark.parametrize("method", METHODS)
def test_keeps_the_order(method: Method) -> None:
    contents = [f"Item {word} has colour {word}{word}." for word in ("xa", "yb", "zc", "qd")]
    assert extracted(contents, method) == contents


@pytest.mark.parametrize("method", METHODS)
def test_of_what_is_said_again_the_newest_is_kept(method: Method) -> None:
    assert extracted(
        [
            "Ann really likes green tea in the morning.",
            "Bob lives in Rome.",
            "Ann likes green tea in the morning.",
        ],
        method,
    ) == ["Bob lives in Rome.", "Ann likes green tea in the morning."]


@pytest.mark.parametrize("method", METHODS)
def test_another_number_is_another_fact(method: Method) -> None:
    contents = [f"The invoice for the new kitchen was {n} euros." for n in (300, 400)]
    assert extracted(contents, method) == contents


@pytest.mark.parametrize("method", METHODS)
def test_takes_no_more_than_it_may(method: Method) -> None:
    contents = [f"Number {n} is called {chr(97 + n) * 5}." for n in range(20)]
    assert len(extracted(contents, method, sentences=3)) == 3
    lines = extracted(contents, method, characters=60)
    assert lines
    assert len("\n".join(lines)) <= 60


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("contents", [["?!"], ["...", "🙂"], ["the of and"], ["a"], ["的"]])
def test_odd_memories_leave_something(contents: list[str], method: Method) -> None:
    assert "".join(extracted(contents, method)).strip()


def test_what_differs_is_chosen_before_what_repeats() -> None:
    """By the embeddings: the words are all different."""
    vectors = [embed_words(text) for text in ("a", "a", "a", "b")]
    memories = [
        Source(uuid7(), content, vector, 1, {}, START, START)
        for content, vector in zip(
            [
                "alpha beta gamma delta",
                "epsilon zeta eta theta",
                "iota kappa lambda mu",
                "nu xi omikron",
            ],
            vectors,
            strict=True,
        )
    ]
    # Alike by their embeddings only as far as they share a rare word; here none does.
    assert "nu xi omikron" in extract(memories, Analyzer("none"), "diversity", 3, 8_000)
    assert "nu xi omikron" not in extract(memories, Analyzer("none"), "frequency", 3, 8_000)


def test_many_long_memories_are_no_quadratic_work() -> None:
    generator = random.Random(0)
    words = [f"w{generator.randrange(3_000)}" for _ in range(60_000)]
    contents = [" ".join(words[n * 1_200 : (n + 1) * 1_200]) + "." for n in range(50)]
    contents = [content.replace(" w1", ". w1") for content in contents]
    assert len(extracted(contents, "diversity")) == 20  # comparing all pairs would take minutes


def test_the_default_keeps_most_of_what_a_reader_wants(encoder: Encoder) -> None:
    recall = {method: fact_recall(encoder, method) for method in METHODS}
    assert recall["diversity"] >= 0.93
    assert recall["diversity"] > recall["frequency"]
