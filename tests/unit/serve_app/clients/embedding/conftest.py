"""For the tests of the embedding stack."""

import pytest

from tests.support.clients.caching import Counted
from tests.support.fakes.embedder import FakeEmbedder


@pytest.fixture
def inner() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def counted() -> Counted:
    return Counted()
