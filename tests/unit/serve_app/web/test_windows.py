"""Windows of time, of every route and tool that has one."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from serve_app.mcp.tools import TOOLS
from serve_app.rest.routes import OPERATIONS

EARLY, LATE = "2026-03-01T00:00:00Z", "2026-03-01T01:00:00.000001+01:00"
REQUIRED = {"agent_id": "a", "user_id": "u", "query": "q"}


def schemas() -> list[type[BaseModel]]:
    """Bodies, query strings and arguments with a bound on times."""
    rest = [schema for operation in OPERATIONS for schema in (operation.body, operation.query)]
    every = [*rest, *(tool.arguments for tool in TOOLS.values())]
    return [
        schema
        for schema in every
        if schema is not None and {"created_after", "created_before"} & schema.model_fields.keys()
    ]


def read(schema: type[BaseModel], **window: str) -> Any:
    required = {
        name: value
        for name, value in REQUIRED.items()
        if name in schema.model_fields and schema.model_fields[name].is_required()
    }
    return schema.model_validate({**required, **window})


def test_searches_and_lists_have_windows() -> None:
    assert [schema.__name__ for schema in schemas()] == ["SearchIn", "ListQuery", "SearchMemories"]


@pytest.mark.parametrize("schema", schemas())
def test_inverted_window_is_refused(schema: type[BaseModel]) -> None:
    with pytest.raises(ValidationError) as caught:
        read(schema, created_after=LATE, created_before=EARLY)
    (error,) = caught.value.errors()
    assert (error["loc"], error["msg"]) == (
        ("created_before",),
        "Value error, is before created_after",
    )


@pytest.mark.parametrize("schema", schemas())
@pytest.mark.parametrize("window", [(EARLY, LATE), (EARLY, EARLY), (EARLY, None), (None, EARLY)])
def test_other_windows_are_accepted(
    schema: type[BaseModel], window: tuple[str | None, str | None]
) -> None:
    names = ("created_after", "created_before")
    bounds = {name: time for name, time in zip(names, window, strict=True) if time is not None}
    read(schema, **bounds)


@pytest.mark.parametrize("schema", schemas())
def test_schema_says_which_side_is_closed(schema: type[BaseModel]) -> None:
    properties = schema.model_json_schema()["properties"]
    assert "at this time or later" in properties["created_after"]["description"]
    assert "before this time" in properties["created_before"]["description"]
