"""Reads the named statements of the SQL files here and the fragments that several of them share."""

import re
from functools import cache, lru_cache
from pathlib import Path

_HEAD = re.compile(r"^-- (name|fragment): (\w+)$", re.MULTILINE)
_COMMENT = re.compile(r"^--.*$", re.MULTILINE)
_DIMENSIONS = ":dimensions"
_PLACE = re.compile(r"\{\{(\w+)\}\}")


@cache
def statements() -> dict[str, str]:
    """Name → SQL, with `{{fragment}}` put in, fragments' own too. Raises ValueError where a name
    stands twice."""
    texts_of_files = [
        file.read_text(encoding="utf-8") for file in sorted(Path(__file__).parent.glob("*.sql"))
    ]
    parts = [part for text in texts_of_files for part in _HEAD.split(text)[1:]]
    kinds, names, bodies = parts[::3], parts[1::3], parts[2::3]
    if len(set(names)) != len(names):
        raise ValueError("the SQL files name a statement twice")
    texts = dict(zip(names, bodies, strict=True))
    fragments = {
        name: _COMMENT.sub("", texts[name]).strip()
        for kind, name in zip(kinds, names, strict=True)
        if kind == "fragment"
    }

    def filled(text: str) -> str:
        return _PLACE.sub(lambda place: filled(fragments[place[1]]), text)

    return {
        name: filled(text).strip().rstrip(";")
        for name, text in texts.items()
        if name not in fragments
    }


def sql(name: str) -> str:
    """The statement of that name. Raises KeyError."""
    return statements()[name]


@lru_cache(maxsize=512)
def name_of(statement: str) -> str:
    """What a statement that was run is called: its name here, also where dimensions have been put
    into it, or begin, commit or rollback; any other is `other`."""
    for name, text in statements().items():
        if statement == text or (
            _DIMENSIONS in text
            and re.fullmatch(re.escape(text).replace(_DIMENSIONS, r"\d+"), statement)
        ):
            return name
    word = statement.split(None, 1)[0].rstrip(";").lower() if statement.strip() else ""
    return word if word in ("begin", "commit", "rollback") else "other"
