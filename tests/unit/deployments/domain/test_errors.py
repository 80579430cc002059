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


def test_rate_limited_names_the_agent_only_to_its_caller() -> None:
    error = errors.RateLimited("secret-agent", "write", 60, 1.5)
    assert "secret-agent" not in str(error)
    assert error.for_caller == (
        "agent 'secret-agent' has reached the write limit, 60 write calls in any 60 s; "
        "the next is possible in 1.5 s"
    )
