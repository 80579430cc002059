"""A value of a JSON file together with where it stands, so that an error can name the place."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from evaluation.errors import FormatError


@dataclass(frozen=True, slots=True)
class Node:
    """Every reading either gives the expected type or raises FormatError."""

    value: Any
    where: str

    def fail(self, what: str) -> FormatError:
        """The error, to be raised by the caller."""
        return FormatError(f"{self.where}: {what}")

    def named(self, key: str) -> Self:
        """The same value, its place told by what `key` holds as well."""
        return type(self)(self.value, f"{self.where} ({key} {self.text(key)})")

    def has(self, key: str) -> bool:
        """Whether an object's field is there and not null."""
        return self.fields().get(key) is not None

    def fields(self) -> dict[str, Any]:
        """The value, which must be an object."""
        if not isinstance(self.value, dict):
            raise self.fail("must be an object")
        return self.value

    def child(self, key: str) -> Self:
        """An object's field, which must be there."""
        if key not in self.fields():
            raise self.fail(f"{key} is missing")
        return type(self)(self.value[key], f"{self.where}: {key}")

    def elements(self) -> Iterator[Self]:
        """The elements of a list, counted from 1."""
        if not isinstance(self.value, list):
            raise self.fail("must be a list")
        for number, item in enumerate(self.value, start=1):
            yield type(self)(item, f"{self.where} {number}")

    def children(self, key: str) -> list[Self]:
        """The elements of a field that must be a list."""
        return list(self.child(key).elements())

    def as_text(self) -> str:
        """The value, which must be a string."""
        if not isinstance(self.value, str):
            raise self.fail("must be text")
        return clean(self.value)

    def text(self, key: str) -> str:
        """A field that must be a string."""
        return self.child(key).as_text()

    def texts(self, key: str) -> list[str]:
        """A field that must be a list of strings."""
        return [item.as_text() for item in self.children(key)]

    def time(self, parse: Callable[[str], datetime]) -> datetime:
        """The value as a time; the published files name no zone, which is taken as UTC."""
        text = self.as_text()
        try:
            return parse(text).replace(tzinfo=UTC)
        except ValueError:
            raise self.fail(f"{text!r} is not a date of this format") from None


def clean(text: str) -> str:
    """Without what a service cannot store: NUL characters and halves of surrogate pairs."""
    return (
        text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )
