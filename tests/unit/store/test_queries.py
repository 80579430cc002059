import pytest

from deployments.store.queries import name_of, sql, statements


def test_each_statement_is_known_by_its_text() -> None:
    assert {name_of(text) for text in statements().values()} == set(statements())


@pytest.mark.parametrize(
    ("ran", "name"),
    [
        (sql("search_large").replace(":dimensions", "384"), "search_large"),
        ("BEGIN;", "begin"),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;", "begin"),
        ("COMMIT;", "commit"),
        ("select content from memories where agent_id = 'ana'", "other"),
        (sql("search_large").replace(":dimensions", "384 -- ana"), "other"),
        ("", "other"),
    ],
)
def test_what_else_is_run_has_few_names(ran: str, name: str) -> None:
    assert name_of(ran) == name
