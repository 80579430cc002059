"""One measurement with a number of replicas."""

from dataclasses import dataclass

from loadtest.wrk import Measured

_CALLS_PER_REPLICA = 8  # in flight; with fewer, some replicas idle while others have a queue


@dataclass(frozen=True, slots=True)
class Row:
    cost_ms: float
    replicas: int
    measured: Measured
    cpu_s: dict[str, float]
    """By kind of process."""
    processes: dict[str, int]
    """Their number, for the kinds whose processes all do the same."""
    machine_cores: float
    """How many cores all programs on the machine used."""

    @property
    def cores(self) -> dict[str, float]:
        """How many cores each kind of process used."""
        return {kind: cpu / self.measured.duration_s for kind, cpu in self.cpu_s.items()}

    @property
    def of_a_core(self) -> dict[str, float]:
        """How much of a core one process of a kind used; `ray` and `generator` count as one."""
        return {kind: cores / self.processes.get(kind, 1) for kind, cores in self.cores.items()}

    @property
    def busiest(self) -> str:
        """The kind whose processes each used most of a core."""
        return max(self.of_a_core, key=lambda kind: self.of_a_core[kind])

    @property
    def cpu_per_1000(self) -> dict[str, float]:
        """CPU seconds for a thousand answers."""
        thousands = self.measured.answered / 1_000
        return {kind: cpu / thousands for kind, cpu in self.cpu_s.items()} if thousands else {}

    @property
    def most_per_s(self) -> float:
        """Requests/s that the replicas could answer if they never waited."""
        return self.replicas * 1_000 / self.cost_ms


def connections(replicas: int) -> int:
    """Clients, and calls to the embedder in flight: enough that no replica waits for work."""
    return _CALLS_PER_REPLICA * replicas
