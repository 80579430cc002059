"""A value from a JSON file with its position, so that errors can name it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from evaluation.errors import FormatError


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its position. Methods return the expected type or raise FormatError."""

    value: Any
    position: str

    def fail(self, problem: str) -> FormatError:
        """The error for the caller to raise."""
        return FormatError(f"{self.position}: {problem}")

    def named(self, key: str) -> Self:
        """The same value; its position also names the content of `key`."""
        return type(self)(self.value, f"{self.position} ({key} {self.text(key)})")

    def has(self, key: str) -> bool:
        """Whether the object has this field, and it is not null."""
        return self.fields().get(key) is not None

    def fields(self) -> dict[str, Any]:
        """The fields of the value, which must be an object."""
        if not isinstance(self.value, dict):
            raise self.fail("must be an object")
        return self.value

    def child(self, key: str) -> Self:
        """A field of the object. Raises FormatError if it is missing."""
        if key not in self.fields():
            raise self.fail(f"{key} is missing")
        return type(self)(self.value[key], f"{self.position}: {key}")

    def elements(self) -> Iterator[Self]:
        """The elements of a list; positions count from 1."""
        if not isinstance(self.value, list):
            raise self.fail("must be a list")
        for number, item in enumerate(self.value, start=1):
            yield type(self)(item, f"{self.position} {number}")

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
        """The value as a UTC time, since the published files name no time zone."""
        text = self.as_text()
        try:
            return parse(text).replace(tzinfo=UTC)
        except ValueError:
            raise self.fail(f"{text!r} is not a date of this format") from None


def clean(text: str) -> str:
    """`text` with U+FFFD for what a service cannot store: NUL and unpaired surrogates."""
    return (
        text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )
