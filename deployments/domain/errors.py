"""Every error the service raises on purpose, as one tree.

    MemexError
    ├── InvalidInput        the caller's input breaks a rule; says which field and why
    ├── MemoryNotFound      no such memory in this scope (or it is another agent's)
    ├── Superseded          the memory was condensed into a summary and cannot be changed
    ├── NotASummary         the memory has no sources that could be given back
    ├── AgentsNotListed     the operator has switched the listing of agents off
    ├── KeyInUse            a write under the same idempotency key is still running
    ├── KeyReused           an idempotency key was used for another write before
    ├── RateLimited         the agent's calls of one minute are used up
    ├── Unavailable         a part of the service does not answer now; trying again may help
    ├── GenerationRetired   an embedding is of a model that is no longer the one in use
    ├── TooManyExports      as many exports run as the store has connections to spare for
    ├── BackupFailed        a backup cannot be written or restored; says why
    ├── ReembeddingFailed   memories cannot be moved to another model; says why
    ├── TransferFailed      an export or an import did not come to its end; says why
    └── StartupError        the service cannot start as it is set up; says what to change
        ├── BadSetting
        ├── ModelUnavailable
        ├── ModelMismatch
        ├── MigrationRefused
        └── DatabaseUnsuitable

    Fault                   a node failed in a way nobody foresaw; it has logged what it was

Messages are written for the person who reads them and carry no SQL, host or secret. Errors cross
processes by pickle: positional arguments, all of them handed to `super().__init__`.
"""

from deployments.domain.embeddings import ModelIdentity


class MemexError(Exception):
    """Base of all errors below."""


class InvalidInput(MemexError):
    """`field` (a dotted path) holds something that cannot be taken, for `reason`."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


class MemoryNotFound(MemexError):
    """No memory of that id belongs to that agent."""

    def __init__(self, memory_id: str) -> None:
        super().__init__(memory_id)
        self.memory_id = memory_id

    def __str__(self) -> str:
        return f"no memory {self.memory_id} belongs to this agent"


class Superseded(MemexError):
    """The memory is a source of a summary: what it says stays as it was condensed."""

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
    """The memory was not made of others, or they have been purged since."""

    def __init__(self, memory_id: str) -> None:
        super().__init__(memory_id)
        self.memory_id = memory_id

    def __str__(self) -> str:
        return f"memory {self.memory_id} has no sources that could be restored"


class AgentsNotListed(MemexError):
    """The service does not tell which agents there are."""

    def __str__(self) -> str:
        return "agents are not listed here; an operator can allow it (MEMEX_LIST_AGENTS)"


class KeyInUse(MemexError):
    """A write under this idempotency key has not ended yet."""

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
        return f"the idempotency key {self.key!r} was used for another write: take a new one"


class RateLimited(MemexError):
    """The agent made `per_minute` calls of `operation` in the last 60 s."""

    def __init__(
        self, agent_id: str, operation: str, per_minute: int, retry_after_s: float
    ) -> None:
        super().__init__(agent_id, operation, per_minute, retry_after_s)
        self.agent_id = agent_id
        self.operation = operation
        self.per_minute = per_minute
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return (
            f"this agent may make {self.per_minute} {self.operation} calls a minute; "
            f"the next is possible in {self.retry_after_s:.1f} s"
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
    """The memories have been moved to another model; ask anew which one is in use."""

    def __str__(self) -> str:
        return "the memories have been moved to another embedding model"


class TooManyExports(MemexError):
    """A store replica has `at_once` exports under way, each of which holds a connection."""

    retry_after_s = 10.0

    def __init__(self, at_once: int) -> None:
        super().__init__(at_once)
        self.at_once = at_once

    def __str__(self) -> str:
        return f"{self.at_once} exports run already: try again when one of them has ended"


class BackupFailed(MemexError):
    """A backup cannot be written, or cannot be restored; nothing was changed."""


class ReembeddingFailed(MemexError):
    """Memories cannot be moved to another model; those in use stay as they are."""


class TransferFailed(MemexError):
    """An export or an import did not come to its end."""


class StartupError(MemexError):
    """The service is set up in a way it cannot start with."""


class BadSetting(StartupError):
    """A setting is unknown or its value cannot be used."""


class AlreadyRunning(StartupError):
    """Another process has the data folder."""


class ModelUnavailable(StartupError):
    """A model cannot be loaded or downloaded."""


class ModelMismatch(StartupError):
    """The stored embeddings were made by another model, `active`, than the one that is set."""

    def __init__(self, reason: str, active: ModelIdentity | None = None) -> None:
        super().__init__(reason, active)
        self.active = active

    def __str__(self) -> str:
        return str(self.args[0])


class MigrationRefused(StartupError):
    """A migration was edited after it was applied, or the database is newer than this code."""


class DatabaseUnsuitable(StartupError):
    """The database lacks something the service needs."""


class Fault(RuntimeError):
    """A node failed with an error of the class `cause` that is not among the above; its log says
    more. The error itself stays there: its words may quote a memory."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause

    def __str__(self) -> str:
        return f"an internal error ({self.cause}); the log of the node it happened in says more"
