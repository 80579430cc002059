"""Fixtures for the tests of the embedding cache."""

import pytest

from tests.support.clients.caching import Counts
from tests.support.fakes.embedder import FakeEmbedder


@pytest.fixture
def inner() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def counts() -> Counts:
    return Counts()
