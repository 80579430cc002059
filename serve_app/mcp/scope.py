"""The part of a scope that a connection fixes, so that a model cannot leave it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from deployments.domain.errors import InvalidInput, MemoryNotFound
from deployments.domain.memories import Memory
from serve_app.web.fields import Id

AGENT_HEADER = "X-Memex-Agent"
USER_HEADER = "X-Memex-User"
_ID: TypeAdapter[str] = TypeAdapter(Id)


@dataclass(frozen=True, slots=True)
class FixedScope:
    """The ids that a connection fixes; each call chooses an id that is None."""

    agent_id: str | None = None
    user_id: str | None = None

    @property
    def fields(self) -> dict[str, str]:
        """The fixed ids, by the names of their arguments."""
        both = {"agent_id": self.agent_id, "user_id": self.user_id}
        return {name: value for name, value in both.items() if value is not None}

    def fill_in(self, arguments: Mapping[str, Any], accepted: Sequence[str]) -> dict[str, Any]:
        """The arguments together with the fixed ids whose names are in `accepted`; null stands for
        the fixed id. Raises InvalidInput if an argument differs from its fixed id."""
        filled = dict(arguments)
        for name, value in self.fields.items():
            if name not in accepted:
                continue
            if filled.get(name) is None:
                filled[name] = value
            if filled[name] != value:
                raise InvalidInput(
                    name, f"this connection is fixed to {value!r}: leave {name} out of the call"
                )
        return filled

    def check(self, memory: Memory) -> None:
        """Raises MemoryNotFound if the memory belongs to another user than the fixed one."""
        if self.user_id is not None and memory.user_id != self.user_id:
            raise MemoryNotFound(str(memory.id))


def fixed_scope(agent_id: str | None, user_id: str | None) -> FixedScope:
    """The scope that the ids fix. Raises InvalidInput for an id that no memory can have."""
    return FixedScope(_id("agent", agent_id), _id("user", user_id))


def read_scope(agents: Sequence[str], users: Sequence[str]) -> FixedScope:
    """The scope that the values of both headers fix. Raises InvalidInput for a header that is
    empty, repeated or not UTF-8, since ignoring it would leave open the id that it should fix."""
    return FixedScope(
        _id(AGENT_HEADER, _single(AGENT_HEADER, agents)),
        _id(USER_HEADER, _single(USER_HEADER, users)),
    )


def _single(header: str, values: Sequence[str]) -> str | None:
    if len(values) > 1:
        raise InvalidInput(header, "is given more than once")
    try:
        return values[0].encode("latin-1").decode() if values else None
    except UnicodeError:
        raise InvalidInput(header, "is not UTF-8") from None


def _id(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        return _ID.validate_python(value)
    except ValidationError as error:
        raise InvalidInput(name, error.errors()[0]["msg"].removeprefix("Value error, ")) from None
