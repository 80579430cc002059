"""Settings of the memory store and of its search. The database's address is not among them: it is a
secret, and the replica reads it from DATABASE_URL itself."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from deployments.analyzer import Language

Dedup = Literal["off", "touch"]
"""What becomes of a memory that is there already, to the letter: a second one, or a newer one."""

FORGET_TIMEOUT_S = 300.0
"""A scope may hold any number of memories; they go in one transaction."""


class StoreSettings(BaseModel):
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
        description="Scopes of up to so many memories are scored whole.",
    )
    search_candidates: int = Field(
        600,
        ge=50,
        le=100_000,
        description="In larger scopes: how many of the nearest are candidates, for 10 hits.",
    )

    @model_validator(mode="after")
    def _min_within_max(self) -> Self:
        if self.min_pool_size > self.max_pool_size:
            raise ValueError("min_pool_size is larger than max_pool_size")
        return self


class SearchSettings(BaseModel):
    """Of the lexical arm. All but its weight are of what is stored beside each memory: when they
    change, the store renews that as it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lexical_weight: float = Field(
        0.5,
        ge=0,
        le=10,
        description="How much a hybrid search counts common words against meaning.",
    )
    language: Language = Field(
        "english", description="Whose words are stemmed and whose stop words left out, or `none`."
    )
    bm25_k1: float = Field(1.2, ge=0, le=10, description="How much a repeated word counts.")
    bm25_b: float = Field(0.75, ge=0, le=1, description="How much a memory's length counts.")
    bm25_average_terms: float = Field(
        20.0, ge=1, le=10_000, description="The length, in words, that BM25 takes for average."
    )
