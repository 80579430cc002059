import pickle

import pytest

from deployments.domain import errors
from deployments.domain.embeddings import ModelIdentity


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidInput("content", "is bad"),
        errors.MemoryNotFound("x"),
        errors.RateLimited("agent", "write", 60, 1.5),
        errors.Unavailable("database", 2.0),
        errors.ModelMismatch("why", ModelIdentity("model", "1", "fp32", 3)),
        errors.GenerationRetired(),
        errors.ReembeddingFailed("why"),
    ],
)
def test_errors_are_equal_after_pickling(error: errors.MemexError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert copy.__dict__ == error.__dict__
    assert str(copy) == str(error)


def test_message_of_rate_limited_does_not_name_the_agent() -> None:
    assert "secret-agent" not in str(errors.RateLimited("secret-agent", "write", 60, 1.5))
