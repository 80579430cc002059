"""Settings of the summariser."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Method = Literal["frequency", "diversity"]
"""How sentences are chosen: `frequency` prefers words that are frequent among the sources;
`diversity` prefers rare words, and memories whose embeddings differ from those chosen before.
docs/how-to/summaries.md compares them."""


class SummarizationSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(
        False,
        description="Condense old episodic memories in the background. If off, only "
        "`memex summarise` and POST /v1/summaries/run do it.",
    )
    threshold: int = Field(
        100,
        ge=1,
        le=1_000_000,
        description="Uncondensed episodic memories that a scope may have.",
    )
    batch_size: int = Field(
        50, ge=2, le=1_000, description="How many of the oldest memories become one summary."
    )
    interval_seconds: float = Field(
        300.0, ge=1, le=86_400, description="Time from the end of one pass to the next."
    )
    max_sentences: int = Field(
        20, ge=1, le=1_000, description="How many sentences a summary keeps at most."
    )
    method: Method = Field(
        "diversity",
        description="How sentences are chosen: by their words' frequency, or by diversity, "
        "which also uses the memories' embeddings.",
    )
    retention_days: float = Field(
        0,
        ge=0,
        le=36_500,
        description="How many days condensed memories are kept; 0 keeps them forever.",
    )

    @model_validator(mode="after")
    def _batch_within_threshold(self) -> Self:
        if self.batch_size > self.threshold + 1:
            raise ValueError("batch_size is larger than threshold + 1, when a scope is due")
        return self
