"""Settings of the memory store and of its search. They do not include the database's address: it is
a secret, which each replica reads from DATABASE_URL."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from deployments.analyzer import Language

Dedup = Literal["off", "touch"]
"""If the scope holds an identical memory: `off` stores a second copy, `touch` refreshes the
existing one's `created_at`."""

FORGET_TIMEOUT_S = 300.0
"""Time to delete a scope, which may hold any number of memories, in one transaction."""


class StoreSettings(BaseModel):
    """Connections, timeouts, and the limits of exact scoring."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_pool_size: int = Field(1, ge=0, description="Database connections a store replica keeps.")
    max_pool_size: int = Field(
        8, ge=1, description="Database connections a store replica may open."
    )
    connect_timeout_s: float = Field(5.0, gt=0, description="Time to open a database connection.")
    statement_timeout_s: float = Field(10.0, gt=0, description="Time for one database statement.")
    exact_search_rows: int = Field(
        20_000,
        ge=0,
        le=1_000_000_000,
        description="The largest scope, in memories, that a search scores whole.",
    )
    search_candidates: int = Field(
        600,
        ge=50,
        le=100_000,
        description="In larger scopes: the most nearest memories that become candidates, for 10 "
        "hits.",
    )
    expired_retention_hours: float = Field(
        24.0,
        ge=0,
        le=87_600,
        description="How long expired memories are kept for searches as of an earlier time.",
    )

    @model_validator(mode="after")
    def _min_within_max(self) -> Self:
        if self.min_pool_size > self.max_pool_size:
            raise ValueError("min_pool_size is larger than max_pool_size")
        return self


class SearchSettings(BaseModel):
    """Settings of lexical similarity. All but the weight shape the terms stored with each memory:
    after a change, the store renews these terms in the background."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lexical_weight: float = Field(
        0.5,
        ge=0,
        le=10,
        description="The weight of shared words in a hybrid search; meaning weighs 1.",
    )
    language: Language = Field(
        "english",
        description="The language whose words are stemmed and whose stop words are dropped, or "
        "`none`.",
    )
    bm25_k1: float = Field(1.2, ge=0, le=10, description="How much a repeated word counts.")
    bm25_b: float = Field(0.75, ge=0, le=1, description="How much a memory's length counts.")
    bm25_average_terms: float = Field(
        20.0, ge=1, le=10_000, description="The average length that BM25 assumes, in words."
    )
