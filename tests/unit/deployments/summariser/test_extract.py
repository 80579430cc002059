"""Which sentences of the sources an extractive summary has."""

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


def extracted_sentences(
    contents: Sequence[str], method: Method, sentences: int = 20, characters: int = 8_000
) -> list[str]:
    return extract(sources(*contents), Analyzer("english"), method, sentences, characters)


@pytest.mark.parametrize("method", METHODS)
def test_sentences_keep_their_order(method: Method) -> None:
    contents = [f"Item {word} has colour {word}{word}." for word in ("xa", "yb", "zc", "qd")]
    assert extracted_sentences(contents, method) == contents


@pytest.mark.parametrize("method", METHODS)
def test_newest_of_repeated_sentences_is_kept(method: Method) -> None:
    assert extracted_sentences(
        [
            "Ann really likes green tea in the morning.",
            "Bob lives in Rome.",
            "Ann likes green tea in the morning.",
        ],
        method,
    ) == ["Bob lives in Rome.", "Ann likes green tea in the morning."]


@pytest.mark.parametrize("method", METHODS)
def test_sentences_that_differ_in_a_number_are_both_kept(method: Method) -> None:
    contents = [f"The invoice for the new kitchen was {n} euros." for n in (300, 400)]
    assert extracted_sentences(contents, method) == contents


@pytest.mark.parametrize("method", METHODS)
def test_summary_has_at_most_the_given_sentences_and_characters(method: Method) -> None:
    contents = [f"Number {n} is called {chr(97 + n) * 5}." for n in range(20)]
    assert len(extracted_sentences(contents, method, sentences=3)) == 3
    lines = extracted_sentences(contents, method, characters=60)
    assert lines
    assert len("\n".join(lines)) <= 60


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("contents", [["?!"], ["...", "🙂"], ["the of and"], ["a"], ["的"]])
def test_summary_of_odd_memories_is_not_empty(contents: list[str], method: Method) -> None:
    assert "".join(extracted_sentences(contents, method)).strip()


def test_diversity_prefers_a_memory_whose_embedding_differs() -> None:
    """All words are different; three of the four embeddings are equal."""
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
    # The equal embeddings make no repetitions: only sentences that share a rare term are compared.
    assert "nu xi omikron" in extract(memories, Analyzer("none"), "diversity", 3, 8_000)
    assert "nu xi omikron" not in extract(memories, Analyzer("none"), "frequency", 3, 8_000)


def test_many_long_memories_do_not_take_quadratic_time() -> None:
    rng = random.Random(0)
    words = [f"w{rng.randrange(3_000)}" for _ in range(60_000)]
    contents = [" ".join(words[n * 1_200 : (n + 1) * 1_200]) + "." for n in range(50)]
    contents = [content.replace(" w1", ". w1") for content in contents]
    # Comparing all pairs would take minutes.
    assert len(extracted_sentences(contents, "diversity")) == 20


def test_diversity_keeps_most_facts_and_more_than_frequency(encoder: Encoder) -> None:
    recall = {method: fact_recall(encoder, method) for method in METHODS}
    assert recall["diversity"] >= 0.93
    assert recall["diversity"] > recall["frequency"]
