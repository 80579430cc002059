"""Rate limits: how many calls an agent may make."""

from dataclasses import dataclass
from typing import Literal

from deployments.domain.pickling import pickle_by_fields

Operation = Literal["write", "search"]
"""The calls that a rate limit counts; each operation is counted separately."""


@pickle_by_fields
@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `per_minute` calls of `operation` in any 60 s, for one agent. 0 means no limit."""

    operation: Operation
    per_minute: int
