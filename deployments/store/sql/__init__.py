"""The named statements of the store's SQL files, with named parameters.

A file holds statements under `-- name: …` and fragments under `-- fragment: …`. A statement
includes a fragment as `{{fragment}}`; a fragment includes no other. A parameter is `:name`, as
often as needed; it is sent as one of asyncpg's `$1, $2, …`. A `{name}` is a whole number that
becomes part of the text, for places in which Postgres takes no parameter.

    connection.fetchrow(*sql.get_memory(agent_id="helper", memory_id=memory_id))

`python -m deployments.store.sql NAME` prints a statement as it is sent.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
_HEAD = re.compile(r"^-- (name|fragment): (\w+)$", re.MULTILINE)
_COMMENT = re.compile(r"^\s*--.*\n?", re.MULTILINE)
_FRAGMENT = re.compile(r"\{\{(\w+)\}\}")
_LITERAL = re.compile(r"\{(\w+)\}")
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]\w*)")  # not a cast, which is `::`

_TRANSACTION_WORDS = frozenset({"begin", "commit", "rollback"})


class Statement:
    """One statement: its `source` with named parameters, and the `text` that is sent. Calling it
    with a value for each of its names returns the text, then the parameters in the text's order."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.source = text
        self.literals = tuple(dict.fromkeys(_LITERAL.findall(text)))
        self.parameters = tuple(dict.fromkeys(_PARAMETER.findall(text)))
        self.names = frozenset({*self.parameters, *self.literals})
        placeholders = {name: f"${number}" for number, name in enumerate(self.parameters, 1)}
        self.text = _PARAMETER.sub(lambda match: placeholders[match[1]], text)
        self._record_name(self.text)

    def __call__(self, **values: Any) -> tuple[Any, ...]:
        """Raises TypeError if a name is missing or unknown."""
        if values.keys() != self.names:
            missing, unknown = self.names - values.keys(), values.keys() - self.names
            raise TypeError(f"{self.name}: missing {sorted(missing)}, unknown {sorted(unknown)}")
        text = self.text
        if self.literals:
            text = _LITERAL.sub(lambda match: str(int(values[match[1]])), text)
            self._record_name(text)
        return (text, *(values[parameter] for parameter in self.parameters))

    def _record_name(self, text: str) -> None:
        _names_of_texts[text] = self.name


_names_of_texts: dict[str, str] = {}


class Statements:
    """All statements, as attributes."""

    def __getattr__(self, name: str) -> Statement:
        try:
            return statements()[name]
        except KeyError:
            raise AttributeError(f"no SQL file has a statement {name!r}") from None


sql = Statements()


@cache
def statements() -> dict[str, Statement]:
    """All statements by name. Raises ValueError if a name is not unique, or a fragment includes
    another."""
    texts: dict[str, str] = {}
    fragments: dict[str, str] = {}
    for file in sorted(_ROOT.rglob("*.sql")):
        for kind, name, body in _parts(file.read_text(encoding="utf-8")):
            if name in texts or name in fragments:
                raise ValueError(f"{file.name}: the name {name!r} is already taken")
            (texts if kind == "name" else fragments)[name] = body
    for name, body in fragments.items():
        if _FRAGMENT.search(body):
            raise ValueError(f"the fragment {name!r} includes another fragment")
    return {
        name: Statement(name, _FRAGMENT.sub(lambda match: fragments[match[1]], body))
        for name, body in texts.items()
    }


def _parts(text: str) -> Iterator[tuple[str, str, str]]:
    parts = _HEAD.split(text)[1:]
    for kind, name, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        yield kind, name, _COMMENT.sub("", body).strip().rstrip(";")


def name_of(text: str) -> str:
    """The name of the statement with this `text`; `begin`, `commit` or `rollback`; else `other`."""
    name = _names_of_texts.get(text)
    if name is not None:
        return name
    word = text.split(None, 1)[0].rstrip(";").lower() if text.strip() else ""
    return word if word in _TRANSACTION_WORDS else "other"
