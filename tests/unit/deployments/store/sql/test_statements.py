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


def test_name_of_finds_each_statement_by_its_text() -> None:
    assert {name_of(statement.text) for statement in statements().values()} == set(statements())


def search_large(dimensions: int) -> str:
    names = sql.search_large.names - {"dimensions"}
    text: str = sql.search_large(**dict.fromkeys(names), dimensions=dimensions)[0]
    return text


@pytest.mark.parametrize(
    ("text", "name"),
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
def test_name_of_gives_other_texts_few_names(text: str, name: str) -> None:
    assert name_of(text) == name


def test_arguments_are_in_the_order_of_their_parameters_in_the_text() -> None:
    statement = Statement("x", "select :b::text, :a, :b where '12:30'::time > :a and c::int = {n}")
    assert statement.text == "select $1::text, $2, $1 where '12:30'::time > $2 and c::int = {n}"
    assert statement(a=1, b=2, n=3) == (
        "select $1::text, $2, $1 where '12:30'::time > $2 and c::int = 3", 2, 1,
    )  # fmt: skip


def test_missing_or_unknown_parameters_and_unknown_statements_are_refused() -> None:
    with pytest.raises(TypeError, match=r"get_memory: missing \['memory_id'\], unknown \['id'\]"):
        sql.get_memory(agent_id="a", id=1)
    with pytest.raises(AttributeError, match="no_such_statement"):
        _ = sql.no_such_statement


def calls() -> Iterator[tuple[str, int, str, set[str], bool]]:
    """Every call `sql.name(…)` in the code: its path, line, name and keywords, and whether it also
    has `**keywords`."""
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
    all_calls = list(calls())
    assert len(all_calls) > 80
    for path, line, name, names, has_more in all_calls:
        location = f"{path}:{line}: {name}"
        assert name in statements(), location
        parameters = statements()[name].names
        assert names <= parameters if has_more else names == parameters, location


def test_every_statement_is_used() -> None:
    code = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("deployments", "serve_app")
        for path in (ROOT / folder).rglob("*.py")
    )
    assert [name for name in statements() if not re.search(rf"\bsql\.{name}\b", code)] == []


@pytest.mark.parametrize("name", SEARCHES)
def test_search_statements_equal_their_snapshots(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """After an intended change: `python -m deployments.store.sql NAME > …/snapshots/NAME.sql`."""
    assert main([name]) == 0
    assert capsys.readouterr().out == (SNAPSHOTS / f"{name}.sql").read_text(encoding="utf-8")


def test_every_snapshot_is_of_an_existing_statement() -> None:
    assert [path.stem for path in sorted(SNAPSHOTS.glob("*.sql"))] == SEARCHES


def test_command_reports_an_unknown_statement_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["nowhere"]) == 1
    assert capsys.readouterr().err == "no SQL file has a statement 'nowhere'\n"
    assert main([]) == 0
    assert "get_memory(agent_id, memory_id)\n" in capsys.readouterr().out


def test_fragments_contain_no_fragments() -> None:
    for path in Path(package.__file__).parents[1].rglob("*.sql"):
        for _, body in re.findall(
            r"^-- fragment: (\w+)\n(.*?)(?=^-- (?:name|fragment): |\Z)",
            path.read_text(encoding="utf-8"),
            re.MULTILINE | re.DOTALL,
        ):
            assert "{{" not in body
