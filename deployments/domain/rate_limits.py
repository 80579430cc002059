"""Rate limits: how many calls an agent may make."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from deployments.domain.pickling import pickle_by_fields

WINDOW_S = 60

Operation = Literal["write", "search"]
"""The calls that a rate limit counts; each operation is counted separately."""


@pickle_by_fields
@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `per_minute` calls of `operation` in any 60 s, for one agent. 0 means no limit."""

    operation: Operation
    per_minute: int


@pickle_by_fields
@dataclass(frozen=True, slots=True)
class Quota:
    """What is left to an agent of a rate limit after its last call: `remaining` calls, and one more
    in `reset_s`."""

    agent_id: str
    limit: RateLimit
    remaining: int
    reset_s: float


ObserveQuota = Callable[[Quota], None]
"""Called with an agent's quota after a call of the agent was counted."""
