import json
from typing import Annotated, Any

import pytest
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from serve_app.web.input_model import Input, reason, unknown_name


class Inner(Input):
    name: str
    count: Annotated[int, Field(ge=1, le=50)] = 7
    ratio: Annotated[float, Field(le=2)] = 0.5
    tags: dict[str, Any] = Field(default_factory=dict)
    is_new: bool = True
    clears: int | None = 3
    """Null has a meaning of its own."""

    @model_validator(mode="after")
    def _check(self) -> "Inner":
        return self


class Outer(Input):
    first: Inner
    others: list[Inner] = Field(default_factory=list)


class Later(Inner):
    more: int = 1


class Text(Input):
    model_config = ConfigDict(strict=False)

    count: Annotated[int, Field(ge=1)] = 7


def errors(model: type[Input], value: Any) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(json.dumps(value))
    return [
        f"{'.'.join(map(str, error['loc']))}: {reason(error)}" for error in caught.value.errors()
    ]


def test_null_means_the_default() -> None:
    nulls = dict.fromkeys(["count", "ratio", "tags", "is_new"])
    read = Inner.model_validate_json(json.dumps({"name": "n", **nulls}))
    assert read == Inner(name="n")
    outer = Outer.model_validate_json(json.dumps({"first": {"name": "n", **nulls}, "others": None}))
    assert outer == Outer(first=Inner(name="n"))
    assert Later.model_validate_json('{"name": "n", "more": null, "count": null}').more == 1
    assert outer.model_dump(mode="json")["first"]["count"] == 7


def test_null_of_its_own_meaning_is_kept() -> None:
    assert Inner.model_validate_json('{"name": "n", "clears": null}').clears is None


def test_required_field_cannot_be_null() -> None:
    assert errors(Inner, {"name": None}) == ["name: Input should be a valid string"]


@pytest.mark.parametrize("number", ["10", "10.0", "1e1", "100e-1"])
def test_whole_number_is_an_integer(number: str) -> None:
    count = Inner.model_validate_json(f'{{"name": "n", "count": {number}}}').count
    assert (count, type(count)) == (10, int)
    clears = Inner.model_validate_json(f'{{"name": "n", "clears": {number}}}').clears
    assert (clears, type(clears)) == (10, int)
    text = Text.model_validate({"count": number}).count
    assert (text, type(text)) == (10, int)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (10.5, "must be a whole number, not 10.5"),
        (-0.1, "must be a whole number, not -0.1"),
        (True, "Input should be a valid integer"),
        ("10", "Input should be a valid integer"),
        (0.0, "Input should be greater than or equal to 1"),
        (1e300, "Input should be less than or equal to 50"),
    ],
)
def test_other_values_are_no_integer(value: Any, message: str) -> None:
    assert errors(Inner, {"name": "n", "count": value}) == [f"count: {message}"]


@pytest.mark.parametrize("text", ["10.5", "true", "null", "", "ten", "1_0", "NaN", "1e400", "[1]"])
def test_other_texts_are_no_integer_in_a_query_string(text: str) -> None:
    with pytest.raises(ValidationError, match="count"):
        Text.model_validate({"count": text})


def test_numbers_of_free_form_stay_what_they_were() -> None:
    tags = '{"a":10.0,"b":10,"c":1e22,"d":true,"e":null,"f":12345678901234567890}'
    read = Inner.model_validate_json(f'{{"name": "n", "tags": {tags}}}')
    assert read.tags == json.loads(tags)
    assert [type(value) for value in read.tags.values()][:4] == [float, int, float, bool]


def test_unknown_names_are_refused_at_any_depth() -> None:
    inner = {"name": "n", "cuont": 1}
    assert errors(Outer, {"first": inner, "others": [{"name": "n"}, inner], "frist": 1}) == [
        "first.cuont: is unknown; did you mean count?",
        "others.1.cuont: is unknown; did you mean count?",
        "frist: is unknown; did you mean first?",
    ]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("topK", "top_k"),
        ("top-k", "top_k"),
        ("TOP_K", "top_k"),
        ("k", "top_k"),
        ("memoryType", "memory_type"),
        ("type", "memory_type"),
        ("user", "user_id"),
        ("userid", "user_id"),
    ],
)
def test_nearest_known_name_is_named(name: str, nearest: str) -> None:
    known = ["agent_id", "user_id", "query", "top_k", "memory_type"]
    assert unknown_name(name, known).startswith(f"is unknown; did you mean {nearest}?")


def test_all_known_names_are_named_if_none_is_near() -> None:
    known = ["agent_id", "query"]
    assert unknown_name("limit", known).endswith("? Known are agent_id, query")
    assert "Known" not in unknown_name("querry", known)
    assert unknown_name("", known)


def test_schema_says_what_is_accepted() -> None:
    schema = Inner.model_json_schema()
    assert schema["required"] == ["name"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["count"] == {
        "anyOf": [{"minimum": 1, "maximum": 50, "type": "integer"}, {"type": "null"}],
        "default": 7,
        "title": "Count",
    }
    inner = TypeAdapter(Outer).json_schema()["$defs"]["Inner"]
    assert inner["properties"] == schema["properties"]
