"""Entity tags: by which a caller names the state of a memory that it has read (RFC 9110, 8.8.3)."""

import base64
import json
from dataclasses import dataclass, fields
from hashlib import blake2b

from deployments.domain.errors import PreconditionFailed
from deployments.domain.memories import Memory

_DIGEST_BYTES = 15  # 20 characters
_OF_SEARCHES = ("score", "explanation")
_FIELDS = [field.name for field in fields(Memory) if field.name not in _OF_SEARCHES]


def entity_tag(memory: Memory) -> str:
    """The tag of the memory's state, without quotes: two states have the same tag only if all
    their fields are equal. It is made of the fields instead of a version number, so that a memory
    that is deleted and imported again under its id gets a tag of its own."""
    values = {name: getattr(memory, name) for name in _FIELDS}
    state = json.dumps(values, sort_keys=True, default=str).encode()
    return base64.urlsafe_b64encode(blake2b(state, digest_size=_DIGEST_BYTES).digest()).decode()


@dataclass(frozen=True, slots=True)
class Precondition:
    """Make a change only if the memory is in a state that has one of these tags."""

    tags: frozenset[str]

    def check(self, memory: Memory) -> None:
        """Raises PreconditionFailed. To prevent lost updates, `memory` must be locked."""
        if entity_tag(memory) not in self.tags:
            raise PreconditionFailed(str(memory.id))
