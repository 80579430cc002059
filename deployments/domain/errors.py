"""Every error the service raises on purpose, as one tree.

    MemexError
    ├── InvalidInput        the caller's input breaks a rule; names the field and the reason
    ├── MemoryNotFound      no such memory in this scope (or it is another agent's)
    ├── Superseded          the memory was condensed into a summary and cannot be changed
    ├── NotASummary         the memory has no sources to restore
    ├── AgentsNotListed     the operator has switched the listing of agents off
    ├── PreconditionFailed  the memory was changed since the caller read it
    ├── KeyInUse            a write under the same idempotency key is still running
    ├── KeyReused           the idempotency key was used for another write before
    ├── DeletedSince        a repeated write was made, but its memory was deleted since
    ├── RateLimited         the agent has used up its rate limit
    ├── Unavailable         a part of the service does not answer now; trying again may help
    ├── GenerationRetired   an embedding is of a model that is no longer in use
    ├── TooManyExports      a store replica runs as many exports as it has connections for
    ├── BackupFailed        a backup cannot be written or restored; gives the reason
    ├── ReembeddingFailed   memories cannot be moved to another model; gives the reason
    ├── TransferFailed      an export or import did not finish; gives the reason
    └── StartupError        the service cannot start as it is set up; names what to change
        ├── BadSetting
        ├── AlreadyRunning
        ├── ModelUnavailable
        ├── ModelMismatch
        ├── MigrationRefused
        └── DatabaseUnsuitable

    Fault                   a node failed unexpectedly; it has logged the error

Messages are written for people and contain no SQL, host or secret. Errors cross processes by
pickle, so each passes all its arguments, which are positional, to `super().__init__`.
"""

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.rate_limits import WINDOW_S, Operation


class MemexError(Exception):
    """Base of all errors below."""


class InvalidInput(MemexError):
    """`field` (a dotted path) is invalid, for `reason`."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


class MemoryNotFound(MemexError):
    """The agent has no memory with this id."""

    def __init__(self, memory_id: str) -> None:
        super().__init__(memory_id)
        self.memory_id = memory_id

    def __str__(self) -> str:
        return f"no memory {self.memory_id} belongs to this agent"


class Superseded(MemexError):
    """The memory is a source of a summary, so it cannot be changed."""

    def __init__(self, memory_id: str, summary_id: str) -> None:
        super().__init__(memory_id, summary_id)
        self.memory_id = memory_id
        self.summary_id = summary_id

    def __str__(self) -> str:
        return (
            f"memory {self.memory_id} was condensed into {self.summary_id}: restore that summary "
            "before you change its sources"
        )


class NotASummary(MemexError):
    """The memory was not condensed from others, or they have been purged since."""

    def __init__(self, memory_id: str) -> None:
        super().__init__(memory_id)
        self.memory_id = memory_id

    def __str__(self) -> str:
        return f"memory {self.memory_id} has no sources to restore"


class AgentsNotListed(MemexError):
    """The operator has switched the listing of agents off."""

    def __str__(self) -> str:
        return "agents are not listed here; the operator can allow it with MEMEX_LIST_AGENTS=true"


class PreconditionFailed(MemexError):
    """The memory is in another state than those that the caller named."""

    def __init__(self, memory_id: str) -> None:
        super().__init__(memory_id)
        self.memory_id = memory_id

    def __str__(self) -> str:
        return (
            f"memory {self.memory_id} was changed since you read it: read it again, and decide "
            "anew what to change"
        )


class KeyInUse(MemexError):
    """A write under this idempotency key is still running."""

    retry_after_s = 1.0

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"a write under the idempotency key {self.key!r} is still running"


class KeyReused(MemexError):
    """This idempotency key was used for another write."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"the idempotency key {self.key!r} was used for another write: use a new one"


class DeletedSince(MemexError):
    """The write under this idempotency key was made, but its memory was deleted since, and with it
    what the write answered."""

    def __init__(self, memory_id: str) -> None:
        super().__init__(memory_id)
        self.memory_id = memory_id

    def __str__(self) -> str:
        return f"memory {self.memory_id} was changed under this idempotency key, and deleted since"


class RateLimited(MemexError):
    """The agent made `per_minute` `operation` calls in the last 60 s."""

    def __init__(
        self, agent_id: str, operation: Operation, per_minute: int, retry_after_s: float
    ) -> None:
        super().__init__(agent_id, operation, per_minute, retry_after_s)
        self.agent_id = agent_id
        self.operation = operation
        self.per_minute = per_minute
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self._say("the agent")  # a log line may have it

    @property
    def for_caller(self) -> str:
        """The message with the agent's id, for an answer to the agent."""
        return self._say(f"agent {self.agent_id!r}")

    def _say(self, agent: str) -> str:
        return (
            f"{agent} has reached the {self.operation} limit, {self.per_minute} {self.operation} "
            f"calls in any {WINDOW_S} s; the next is possible in {self.retry_after_s:.1f} s"
        )


class Unavailable(MemexError):
    """`part` (database, embedder, reranker, store) does not answer; try again after
    `retry_after_s`."""

    def __init__(self, part: str, retry_after_s: float = 1.0) -> None:
        super().__init__(part, retry_after_s)
        self.part = part
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"the {self.part} is not available right now"


class GenerationRetired(MemexError):
    """The memories have been moved to another model; adopt the one in use and try again."""

    def __str__(self) -> str:
        return "the memories have been moved to another embedding model"


class TooManyExports(MemexError):
    """A store replica runs `limit` exports, each of which holds a connection."""

    retry_after_s = 10.0

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.limit} exports run already: try again when one has ended"


class BackupFailed(MemexError):
    """A backup cannot be written or restored; nothing was changed."""


class ReembeddingFailed(MemexError):
    """Memories cannot be moved to another model; the embeddings in use are unchanged."""


class TransferFailed(MemexError):
    """An export or an import did not finish."""


class StartupError(MemexError):
    """The service cannot start as it is set up."""


class BadSetting(StartupError):
    """A setting is unknown or its value cannot be used."""


class AlreadyRunning(StartupError):
    """Another process uses the data folder."""


class ModelUnavailable(StartupError):
    """A model cannot be loaded or downloaded."""


class ModelMismatch(StartupError):
    """The stored embeddings were made by `active`, not by the model that the settings name."""

    def __init__(self, reason: str, active: ModelIdentity | None = None) -> None:
        super().__init__(reason, active)
        self.active = active

    def __str__(self) -> str:
        return str(self.args[0])


class MigrationRefused(StartupError):
    """A migration was edited after it was applied, or the database is newer than this code."""


class DatabaseUnsuitable(StartupError):
    """The database lacks something that the service needs."""


class Fault(RuntimeError):
    """A node failed with an unexpected error of the class `cause`. Only the node's log has the
    details, because the error's message may quote a memory."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause

    def __str__(self) -> str:
        return f"an internal error ({self.cause}); the log of the node that failed has the details"
