import math

import pytest

from deployments.domain.searching.bm25 import Bm25, idf
from deployments.store.lexical.lexicon import Lexicon
from deployments.store.settings import SearchSettings

LEXICON = Lexicon(SearchSettings())


def bm25(query: str, contents: list[str], index: int) -> float:
    """The BM25 of `contents[index]`, as the database computes it: the inner product of the stored
    weights and the query's weights."""
    stored = [LEXICON.index("agent", "user", content) for content in contents]
    terms = LEXICON.query("agent", "user", query)
    keys = [terms.scope_key, *terms.counts]
    frequencies = {key: sum(key in entry.keys for entry in stored) for key in keys}
    weights = terms.weights(frequencies)
    row = dict(zip(stored[index].weights.indices(), stored[index].weights.values(), strict=True))
    total: float = sum(
        value * row.get(dimension, 0.0)
        for dimension, value in zip(weights.indices(), weights.values(), strict=True)
    )
    return total


def test_bm25_equals_the_formula_computed_by_hand() -> None:
    contents = ["red red green", "green blue", "blue"]
    weight = 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 3 / 20))
    assert bm25("red", contents, 0) == pytest.approx(weight * math.log(1 + 2.5 / 1.5))
    assert bm25("red red", contents, 0) == pytest.approx(2 * weight * math.log(1 + 2.5 / 1.5))
    assert bm25("red", contents, 1) == 0
    weight = 2.2 / (1 + 1.2 * (0.25 + 0.75 * 2 / 20))
    assert bm25("green red", contents, 1) == pytest.approx(weight * math.log(1 + 1.5 / 2.5))


def test_k1_zero_ignores_repetitions_and_b_zero_ignores_length() -> None:
    assert Bm25(k1=0).term_weight(1, 5) == Bm25(k1=0).term_weight(9, 50) == 1
    assert Bm25(b=0).term_weight(2, 5) == Bm25(b=0).term_weight(2, 500)
    assert Bm25().term_weight(2, 5) > Bm25().term_weight(2, 500)


def test_idf_falls_with_document_frequency_and_stays_above_zero() -> None:
    values = [idf(100, containing) for containing in (1, 2, 50, 100)]
    assert values == sorted(values, reverse=True)
    assert values[-1] > 0
    assert idf(5, 9) == idf(5, 5)  # wrong counts: more memories have the term than exist


def test_scopes_share_no_term_key() -> None:
    scopes = [("a", "b"), ("a", "c"), ("b", "a"), ("ab", ""), ("", "ab"), ("a\x01", "b")]
    keys = [set(LEXICON.index(*scope, "the same words here").keys) for scope in scopes]
    assert len(set.union(*keys)) == sum(len(entry) for entry in keys)
    assert all(0 <= key < 2**63 for key in set.union(*keys))


def test_lexicons_of_different_languages_share_no_term_key() -> None:
    other = Lexicon(SearchSettings(language="none"))
    assert not {*LEXICON.index("a", "b", "word").keys} & {*other.index("a", "b", "word").keys}


def test_rarest_terms_stay_within_the_given_numbers_of_memories() -> None:
    terms = LEXICON.query("a", "b", "rare usual frequent unknown")
    rare, usual, frequent, _unknown = terms.counts
    frequencies = {rare: 3, usual: 40, frequent: 900}
    assert terms.rarest(frequencies, 100, 100) == [rare, usual]
    assert terms.rarest(frequencies, 2, 100) == [rare]  # the rarest may exceed the first bound
    assert terms.rarest(frequencies, 2, 2) == []
    assert terms.rarest({}, 2, 100) == []


def test_matched_terms_are_distinct_and_in_the_order_of_the_query() -> None:
    query_terms = LEXICON.analyzer.terms("Which flights, Oslo flight?")
    matched = LEXICON.matched_terms(query_terms, "My flight goes to Oslo. Oslo!")
    assert matched == ["flight", "oslo"]


def test_longest_content_fits_a_sparse_vector() -> None:
    worst = "".join(chr(0x4E00 + n % 20_000) for n in range(8_000))
    assert len(LEXICON.index("a", "b", worst).weights.indices()) <= 16_000
    worst = " ".join(f"a{n}" for n in range(1_600))[:8_000]
    assert len(LEXICON.index("a", "b", worst).weights.indices()) <= 16_000
