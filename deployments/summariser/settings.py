"""Settings of the summariser."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Method = Literal["frequency", "diversity"]
"""Whether those sentences are chosen whose words are frequent among the sources, or those that tell
much, each of a memory whose embedding is unlike those before. docs/summaries.md compares them."""


class SummarizationSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(
        False,
        description="Condense old episodic memories in the background. Off, `memex summarise` and "
        "POST /v1/summaries/run do it when they are called.",
    )
    threshold: int = Field(
        100, ge=1, le=1_000_000, description="Episodic memories a scope may have uncondensed."
    )
    batch_size: int = Field(
        50, ge=2, le=1_000, description="How many of the oldest become one summary."
    )
    interval_seconds: float = Field(
        300.0, ge=1, le=86_400, description="From the end of one pass to the next."
    )
    max_sentences: int = Field(
        20, ge=1, le=1_000, description="Sentences that a summary keeps at most."
    )
    method: Method = Field(
        "diversity",
        description="How sentences are chosen: by their words' frequency, or by diversity, "
        "which uses the memories' embeddings too.",
    )
    retention_days: float = Field(
        0,
        ge=0,
        le=36_500,
        description="After how many days what was condensed is deleted; 0 is never.",
    )

    @model_validator(mode="after")
    def _batch_within_threshold(self) -> Self:
        if self.batch_size > self.threshold + 1:
            raise ValueError("batch_size is larger than a scope that is due may be")
        return self
