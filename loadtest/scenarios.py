"""The rows of the table, and the variants of the service that they measure."""

from dataclasses import dataclass, field
from typing import Literal

Load = Literal["mix", "searches", "writes", "batches", "nothing", "tools", "legacy-tools"]
"""The last two are searches over MCP: as of 2026-07-28, and with a handshake (2025-11-25)."""

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
    """Whether it measures the baseline, too."""
    of_variants: bool = True
    """Whether it measures all variants of the service, or only the default."""

    @property
    def texts_of_request(self) -> int:
        """How many texts the service must embed for each request."""
        return {"nothing": 0, "batches": BATCH}.get(self.load, 1)


@dataclass(frozen=True, slots=True)
class Variant:
    """The service with these environment variables; unknown ones prevent its start."""

    name: str
    env: dict[str, str] = field(default_factory=dict)


# Rows that store most come last, because they make scopes grow.
SCENARIOS = (
    Scenario("nothing-64", "nothing", 64, of_baseline=False),
    Scenario("search-1", "searches", 1),
    Scenario("search-16", "searches", 16, of_baseline=False, of_variants=False),
    Scenario("mcp-1", "tools", 1, of_baseline=False, of_variants=False),
    Scenario("mcp-16", "tools", 16, of_baseline=False, of_variants=False),
    Scenario("mcp-legacy-16", "legacy-tools", 16, of_baseline=False, of_variants=False),
    Scenario("mcp-repeated-64", "tools", 64, REPEATED_TEXTS, of_baseline=False, of_variants=False),
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
    # Requests share no calls, every text is embedded, and Ray's own proxy replaces HAProxy.
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

OVER_MCP = {"mcp-1": "search-1", "mcp-16": "search-16", "mcp-legacy-16": "search-16"}
"""Rows over MCP, with the rows of the same searches over REST."""

BASELINE_WORKERS = (1, 2, 4)
CHOOSING_SCENARIO = "distinct-64"
"""All rows measure the baseline with the number of workers that answers most requests of this."""
