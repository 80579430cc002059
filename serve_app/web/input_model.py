"""The base of all input. It reads what models and typed languages write: null for a default, 10.0
for 10. It refuses an unknown name with the nearest known one."""

import difflib
from collections.abc import Callable, Collection
from typing import Any, NoReturn

import pydantic_core
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import (
    CoreSchema,
    ErrorDetails,
    PydanticCustomError,
    PydanticUseDefault,
    core_schema,
)

_UNKNOWN = "unknown_name"
_MAX_NAME_CHARS = 80
_ALIKE = 0.6


def reason(error: ErrorDetails) -> str:
    """What is wrong with a field, for the caller. `error` has its context."""
    if error["type"] == _UNKNOWN:
        return unknown_name(str(error["loc"][-1]), error["ctx"]["known"])
    return error["msg"].removeprefix("Value error, ")


def unknown_name(name: str, known: Collection[str]) -> str:
    """What is wrong with a name that is not in `known`: the nearest known one, and all of them if
    it is not near."""
    plain = _plain(name[:_MAX_NAME_CHARS])
    likeness, nearest = max(
        (difflib.SequenceMatcher(None, _plain(other), plain).ratio(), other) for other in known
    )
    hint = f"is unknown; did you mean {nearest}?"
    return hint if likeness >= _ALIKE else f"{hint} Known are {', '.join(known)}"


def _plain(name: str) -> str:
    """`topK`, `top-k` and `top_k` alike."""
    return "".join(filter(str.isalnum, name)).lower()


def _whole(value: Any) -> Any:
    """10.0 as 10."""
    if not isinstance(value, float):
        return value
    if not value.is_integer():
        raise ValueError(f"must be a whole number, not {value}")
    return int(value)


def _whole_of_text(text: Any) -> Any:
    """10.0 as 10, in a query string."""
    try:
        value = pydantic_core.from_json(text)
    except (TypeError, ValueError):
        return text
    return _whole(value)


def _use_default(value: Any) -> Any:
    if value is None:
        raise PydanticUseDefault
    return value


def _edit(model: CoreSchema, is_text: bool) -> None:
    """Build the rules into a model's schema, or leave it if they are, because another model has
    this one as a field."""
    layers = _layers(model)
    fields = layers[-1]
    if "extras_keys_schema" in fields:
        return
    for field in fields["fields"].values():
        _read_whole_numbers(_layers(field), _whole_of_text if is_text else _whole)
        _read_null_as_default(_layers(field))
    # Unknown names are allowed as far as a validator that refuses them and says which are known.
    (config,) = [layer["config"] for layer in layers if layer["type"] == "model"]
    config["extra_fields_behavior"] = fields["extra_behavior"] = "allow"
    fields["extras_keys_schema"] = _refuse_names(list(fields["fields"]))


def _layers(schema: Any) -> list[Any]:
    """A schema and those that it wraps, from the outermost to the innermost."""
    layers = [schema]
    while "schema" in layers[-1]:
        layers.append(layers[-1]["schema"])
    return layers


def _read_whole_numbers(layers: list[Any], read: Callable[[Any], Any]) -> None:
    *_, outer, inner = layers
    if inner["type"] == "int":
        inner["strict"] = True  # true is not 1
        outer["schema"] = core_schema.no_info_before_validator_function(read, inner)


def _read_null_as_default(layers: list[Any]) -> None:
    by_type = {layer["type"]: layer for layer in layers}
    if "default" in by_type and "nullable" not in by_type:
        default = by_type["default"]
        nullable = core_schema.nullable_schema(default["schema"])
        default["schema"] = core_schema.no_info_after_validator_function(_use_default, nullable)


def _refuse_names(known: list[str]) -> CoreSchema:
    def refuse(_name: Any) -> NoReturn:
        raise PydanticCustomError(_UNKNOWN, "is unknown", {"known": known})

    return core_schema.no_info_plain_validator_function(refuse)


class Input(BaseModel):
    """What a caller sends. Strict: a number in quotes is not a number, and an unknown name is an
    error. Null means the default, unless the field has none or null is one of its values. JSON
    schemas are made from these rules."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler, /
    ) -> CoreSchema:
        schema = handler(source)
        _edit(schema, is_text=not cls.model_config["strict"])
        return schema
