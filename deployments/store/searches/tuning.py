"""The numbers by which a search of a large scope chooses its candidates. They were tuned against
exact scoring of a million memories (loadtest/results of `make bench-scale`)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SearchTuning:
    """Numbers of candidates for `base_top_k` hits, and the bounds they depend on."""

    max_shared_rows: int = 2_000
    """Searches of larger scopes do not share a statement with others: they take 2 to 3 ms."""

    spare_candidates: int = 2
    """How many more than top_k a search reads if it avoids near-copies: seldom are more needed."""
    deeper_factor: int = 8
    """If near-copies fill the page nevertheless, it reads so many times as many, repeatedly."""
    max_candidates: int = 500
    """The most that it reads to fill a page with others: 0.1 ms each."""

    base_top_k: int = 10
    """For more hits than this, a search reads more candidates: times sqrt(top_k / base_top_k)."""

    min_nearest: int = 50
    nearest_share_without_age: float = 0.5
    """If age makes no difference, the best are among the first of the nearest. This is still more
    than the vector index finds at first (hnsw.ef_search), so that it continues elsewhere if it is
    in a wrong region."""
    selective_share: float = 0.5
    """A metadata filter that leaves a smaller share of the scope is selective."""
    nearest_factor_if_selective: float = 2.5
    """How many times as many vector index entries are read for a selective filter, because fewer of
    the newest are read for it."""

    min_newest: int = 3_500
    max_newest: int = 7_000
    newest_share_of_recent: float = 0.3
    """Between the two: this share of the recent memories that pass the filters."""
    max_newest_rows_if_selective: int = 20_000
    """With a selective filter, most rows are read only to be skipped: at most so many. (Memories of
    other types are skipped in the index of scopes.)"""
    min_newest_if_selective: int = 500

    max_likely: int = 500
    """How many of the memories with sketches are scored."""
    max_likely_without_age: int = 1_500
    """If age does not count, sketches predict the score less well."""

    max_lexical: int = 3_000
    """The most memories with rare terms of the query that a search reads."""
    max_lexical_of_rarest: int = 40_000
    """The rarest term is looked up if at most this many memories have it."""
    max_lexical_skipped: int = 30_000
    """The most memories with rare terms that are looked up if few of them pass the filters; the
    others are skipped in the index only."""

    metadata_estimate_factor: int = 5
    """The planner estimates metadata filters poorly: a filter may leave few memories if the planner
    expects up to this many times `exact_search_rows`."""

    min_half_lives: float = 0.1
    max_half_lives: float = 4.0
    """A memory is recent for alpha / (1 - alpha) half-lives, within these bounds."""
    max_recent_days: float = 36_500.0
    """If that is a longer time, ages make no difference."""
