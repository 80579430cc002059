import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.store import sql as package
from deployments.store.sql import Statement, name_of, sql, statements
from deployments.store.sql.__main__ import main
from serve_app.settings import ROOT

SNAPSHOTS = Path(__file__).with_name("snapshots")
SEARCHES = sorted(name for name in statements() if name.startswith("search_"))


def test_each_statement_is_known_by_its_text() -> None:
    assert {name_of(statement.text) for statement in statements().values()} == set(statements())


def search_large(dimensions: int) -> str:
    names = sql.search_large.names - {"dimensions"}
    text: str = sql.search_large(**dict.fromkeys(names), dimensions=dimensions)[0]
    return text


@pytest.mark.parametrize(
    ("ran", "name"),
    [
        (search_large(384), "search_large"),
        ("BEGIN;", "begin"),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;", "begin"),
        ("COMMIT;", "commit"),
        ("select content from memories where agent_id = 'ana'", "other"),
        (f"{search_large(384)} -- ana", "other"),
        ("", "other"),
    ],
)
def test_what_else_is_run_has_few_names(ran: str, name: str) -> None:
    assert name_of(ran) == name


def test_parameters_are_sent_in_the_order_of_the_text() -> None:
    statement = Statement("x", "select :b::text, :a, :b where '12:30'::time > :a and c::int = {n}")
    assert statement.text == "select $1::text, $2, $1 where '12:30'::time > $2 and c::int = {n}"
    assert statement(a=1, b=2, n=3) == (
        "select $1::text, $2, $1 where '12:30'::time > $2 and c::int = 3", 2, 1,
    )  # fmt: skip


def test_a_name_that_is_missing_or_unknown_is_refused() -> None:
    with pytest.raises(TypeError, match=r"get_memory: missing \['memory_id'\], unknown \['id'\]"):
        sql.get_memory(agent_id="a", id=1)
    with pytest.raises(AttributeError, match="no_such_statement"):
        _ = sql.no_such_statement


def calls() -> Iterator[tuple[str, int, str, set[str], bool]]:
    """Every `sql.name(…)` of the code: where it is, the names it gives, whether there are more."""
    for folder in ("deployments", "serve_app"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id == "sql"
                ):
                    names = {keyword.arg for keyword in node.keywords if keyword.arg}
                    has_more = any(keyword.arg is None for keyword in node.keywords)
                    yield str(path), node.lineno, node.func.attr, names, has_more


def test_callers_give_each_statement_its_parameters() -> None:
    found = list(calls())
    assert len(found) > 80
    for path, line, name, names, has_more in found:
        where = f"{path}:{line}: {name}"
        assert name in statements(), where
        known = statements()[name].names
        assert names <= known if has_more else names == known, where


def test_no_statement_is_left_that_nobody_sends() -> None:
    code = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("deployments", "serve_app")
        for path in (ROOT / folder).rglob("*.py")
    )
    assert [name for name in statements() if not re.search(rf"\bsql\.{name}\b", code)] == []


@pytest.mark.parametrize("name", SEARCHES)
def test_searches_are_sent_as_the_snapshots_have_them(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a change on purpose: `python -m deployments.store.sql NAME > …/snapshots/NAME.sql`."""
    assert main([name]) == 0
    assert capsys.readouterr().out == (SNAPSHOTS / f"{name}.sql").read_text(encoding="utf-8")


def test_no_snapshot_is_of_a_statement_that_is_gone() -> None:
    assert [path.stem for path in sorted(SNAPSHOTS.glob("*.sql"))] == SEARCHES


def test_a_statement_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nowhere"]) == 1
    assert capsys.readouterr().err == "no SQL file has a statement 'nowhere'\n"
    assert main([]) == 0
    assert "get_memory(agent_id, memory_id)\n" in capsys.readouterr().out


def test_fragments_hold_no_fragments() -> None:
    for path in Path(package.__file__).parents[1].rglob("*.sql"):
        for _, body in re.findall(
            r"^-- fragment: (\w+)\n(.*?)(?=^-- (?:name|fragment): |\Z)",
            path.read_text(encoding="utf-8"),
            re.MULTILINE | re.DOTALL,
        ):
            assert "{{" not in body
