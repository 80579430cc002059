from dataclasses import replace

import pytest

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.errors import GenerationRetired, Unavailable
from serve_app.clients.embedding.by_model import EmbedderByModel
from tests.support.fakes.embedder import IDENTITY, FakeEmbedder

OTHER = replace(IDENTITY, name="fake/other")


class Cluster:
    """Another embedder beside the home of all, which may be there or not."""

    def __init__(self) -> None:
        self.home, self.other = FakeEmbedder(), FakeEmbedder()
        self.other.others.add(OTHER)
        self.is_there = True
        self.embedders = EmbedderByModel(self.home, self._find)

    async def _find(self, identity: ModelIdentity) -> FakeEmbedder | None:
        return self.other if self.is_there and identity == OTHER else None


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


async def test_each_model_answers_for_itself(cluster: Cluster) -> None:
    cluster.other.others = {OTHER}
    await cluster.embedders.embed(["a"], "query", IDENTITY)
    await cluster.embedders.embed(["b"], "passage", OTHER)
    await cluster.embedders.embed_each([(["c"], "query")], OTHER)
    assert cluster.home.calls == [(["a"], "query")]
    assert cluster.other.calls == [(["b"], "passage"), (["c"], "query")]


async def test_a_model_is_here_or_not(cluster: Cluster) -> None:
    assert await cluster.embedders.has(IDENTITY)
    cluster.is_there = False
    assert not await cluster.embedders.has(OTHER)
    with pytest.raises(GenerationRetired):
        await cluster.embedders.embed(["a"], "query", OTHER)


async def test_home_may_be_down(cluster: Cluster) -> None:
    await cluster.embedders.identity()
    cluster.home.down = True
    with pytest.raises(Unavailable):
        await cluster.embedders.embed(["a"], "query", IDENTITY)


async def test_a_model_that_was_taken_away_is_told_from_one_that_is_down(cluster: Cluster) -> None:
    await cluster.embedders.embed(["a"], "query", OTHER)
    cluster.other.down = True
    with pytest.raises(Unavailable):
        await cluster.embedders.embed(["a"], "query", OTHER)
    cluster.is_there = False
    for call in (
        cluster.embedders.embed(["a"], "query", OTHER),
        cluster.embedders.embed_each([(["a"], "query")], OTHER),
    ):
        with pytest.raises(GenerationRetired):
            await call
