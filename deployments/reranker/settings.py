"""Settings of the reranker."""

from pydantic import BaseModel, ConfigDict, Field


class RerankerSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        "", description="A cross-encoder that fastembed supports; empty means no reranker."
    )
    top_n: int = Field(20, ge=1, le=50, description="How many of the best hits are reordered.")
    budget_ms: int = Field(
        150, gt=0, description="How long a search waits for the reranker, in milliseconds."
    )
