"""Settings of the embedder."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"


class EmbeddingSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        DEFAULT_MODEL,
        min_length=1,
        description="The default model, or any other that fastembed supports.",
    )
    precision: Literal["int8", "fp32"] = Field(
        "int8", description="Of the default model; other models have the precision of their files."
    )
    stand_in_ms: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="For benchmarks only: runs no model, takes so many milliseconds for each text "
        "and returns a vector without meaning; 0 runs the model.",
    )


class BatchConfig(BaseModel):
    """The deployment's `user_config`, which `serve deploy` changes without a restart."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_batch_size: int = Field(32, ge=1, description="Calls that are embedded together.")
    batch_wait_timeout_s: float = Field(
        0.0, ge=0, description="How long an incomplete batch waits for further calls."
    )
