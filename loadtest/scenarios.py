"""What is measured: the rows of the table, and the variants of the service that they are run on."""

from dataclasses import dataclass, field
from typing import Literal

Load = Literal["mix", "searches", "writes", "batches", "nothing"]

AGENTS = 20
USERS = 10  # of each agent
SEEDED = 5  # memories of each user before the first row
REPEATED_TEXTS = 200
BATCH = 256


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row."""

    name: str
    load: Load
    connections: int
    different_texts: int = 0
    """0: no text is ever sent twice."""
    of_baseline: bool = True
    """Whether the baseline is measured with it, too."""

    @property
    def texts_of_request(self) -> int:
        """How many texts each request has to have embedded."""
        return {"nothing": 0, "batches": BATCH}.get(self.load, 1)


@dataclass(frozen=True, slots=True)
class Variant:
    """The service with something set; a variable that it does not know stops its start."""

    name: str
    env: dict[str, str] = field(default_factory=dict)


# In this order: what stores most comes last, since scopes grow by it.
SCENARIOS = (
    Scenario("nothing-64", "nothing", 64, of_baseline=False),
    Scenario("search-1", "searches", 1),
    Scenario("distinct-8", "mix", 8),
    Scenario("distinct-64", "mix", 64),
    Scenario("repeated-8", "mix", 8, REPEATED_TEXTS),
    Scenario("repeated-64", "mix", 64, REPEATED_TEXTS),
    Scenario("overload-128", "mix", 128, of_baseline=False),
    Scenario("overload-512", "mix", 512, of_baseline=False),
    Scenario("writes-64", "writes", 64),
    Scenario("batch-4", "batches", 4, of_baseline=False),
)

VARIANTS = (
    Variant("default"),
    # Each request makes calls of its own, every text is embedded, and Ray's own proxy listens.
    Variant(
        "plain",
        {
            "MEMEX_EDGE_CALLS_IN_FLIGHT": "10000",
            "MEMEX_EDGE_MAX_BATCH": "1",
            "MEMEX_EDGE_MAX_WAIT_MS": "60000",
            "MEMEX_EDGE_CACHE_MIB": "0",
            "RAY_SERVE_ENABLE_HA_PROXY": "0",
        },
    ),
)

BASELINE_WORKERS = (1, 2, 4)
CHOOSING_SCENARIO = "distinct-64"
"""The number of workers that answers most of this is measured with all rows."""
