"""The numbers by which a search of a large scope chooses its candidates. They were chosen by what
exact scoring finds among a million memories (loadtest/results of `make bench-scale`)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SearchTuning:
    together_rows: int = 2_000
    """Searches of larger scopes are not made together with others: 2 to 3 ms of work."""

    hits: int = 10
    """For more hits, more candidates are read: by the square root of how many times as many."""

    least_nearest: int = 50
    nearest_share_without_age: float = 0.5
    """If age makes no difference, the best are among the first of the nearest. More are read than
    the index finds at first (hnsw.ef_search): should it be in a wrong region, it goes elsewhere."""
    selective_share: float = 0.5
    """A filter of metadata that leaves a smaller share of the scope is selective."""
    nearest_times_if_selective: float = 2.5
    """How many times the entries of the index of vectors are read for a selective filter, since
    fewer of the newest are read for it."""

    least_newest: int = 3_500
    most_newest: int = 7_000
    newest_share_of_recent: float = 0.3
    """Between the two: this share of the recent memories that pass the filters."""
    newest_rows_if_selective: int = 20_000
    """With a selective filter, rows are read only to be passed over: at most so many. (Memories of
    other types are passed over in the index of scopes.)"""
    least_newest_if_selective: int = 500

    likely: int = 500
    """Of the memories that sketches describe, how many are scored."""
    likely_without_age: int = 1_500
    """If age does not count, the sketches tell less."""

    lexical: int = 3_000
    """Memories with a rare term of the query, if the terms are rare enough."""
    lexical_of_rarest: int = 40_000
    """The rarest term is looked up if no more memories have it."""
    lexical_passed_over: int = 30_000
    """If filters leave few of them, so many are passed over, in the index alone."""

    doubt: int = 5
    """The planner knows little of what metadata holds: a filter may leave few if the planner
    expects up to so many times what is scored whole."""

    least_half_lives: float = 0.1
    most_half_lives: float = 4.0
    """A memory is recent for alpha / (1 - alpha) half-lives, within these bounds."""
    most_recent_days: float = 36_500.0
    """If that is a longer time, ages make no difference."""
