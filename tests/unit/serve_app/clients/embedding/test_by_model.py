from dataclasses import replace

import pytest

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.errors import GenerationRetired, Unavailable
from serve_app.clients.embedding.by_model import EmbedderByModel
from tests.support.fakes.embedder import IDENTITY, FakeEmbedder

OTHER = replace(IDENTITY, name="fake/other")


class Cluster:
    """The home embedder, and one for the model `OTHER` if `has_other`."""

    def __init__(self) -> None:
        self.home, self.other = FakeEmbedder(), FakeEmbedder()
        self.other.other_identities.add(OTHER)
        self.has_other = True
        self.embedders = EmbedderByModel(self.home, self._find)

    async def _find(self, identity: ModelIdentity) -> FakeEmbedder | None:
        return self.other if self.has_other and identity == OTHER else None


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


async def test_calls_go_to_the_embedder_of_their_model(cluster: Cluster) -> None:
    cluster.other.other_identities = {OTHER}
    await cluster.embedders.embed(["a"], "query", IDENTITY)
    await cluster.embedders.embed(["b"], "passage", OTHER)
    await cluster.embedders.embed_each([(["c"], "query")], OTHER)
    assert cluster.home.calls == [(["a"], "query")]
    assert cluster.other.calls == [(["b"], "passage"), (["c"], "query")]


async def test_missing_model_raises_generation_retired(cluster: Cluster) -> None:
    assert await cluster.embedders.has(IDENTITY)
    cluster.has_other = False
    assert not await cluster.embedders.has(OTHER)
    with pytest.raises(GenerationRetired):
        await cluster.embedders.embed(["a"], "query", OTHER)


async def test_home_embedder_that_is_down_is_unavailable(cluster: Cluster) -> None:
    await cluster.embedders.identity()
    cluster.home.down = True
    with pytest.raises(Unavailable):
        await cluster.embedders.embed(["a"], "query", IDENTITY)


async def test_removed_model_differs_from_one_that_is_down(cluster: Cluster) -> None:
    await cluster.embedders.embed(["a"], "query", OTHER)
    cluster.other.down = True
    with pytest.raises(Unavailable):
        await cluster.embedders.embed(["a"], "query", OTHER)
    cluster.has_other = False
    for call in (
        cluster.embedders.embed(["a"], "query", OTHER),
        cluster.embedders.embed_each([(["a"], "query")], OTHER),
    ):
        with pytest.raises(GenerationRetired):
            await call
