import pytest

from deployments.domain.embeddings import ModelIdentity, TextsOfKind
from deployments.domain.errors import Unavailable
from serve_app.clients.embedding.by_model import EmbedderByModel
from tests.support.fakes.embedder import IDENTITY, FakeEmbedder


async def test_failed_calls_are_observed_once_for_each_kind() -> None:
    inner = FakeEmbedder()
    failed: list[tuple[str, str]] = []

    async def find(_identity: ModelIdentity) -> None:
        return None

    embedder = EmbedderByModel(inner, find, lambda kind, error: failed.append((kind, str(error))))
    assert await embedder.identity() == IDENTITY
    await embedder.embed(["a"], "query", IDENTITY)
    callers: list[TextsOfKind] = [(["a"], "query"), (["b"], "passage"), (["c"], "query")]
    assert len(await embedder.embed_each(callers, IDENTITY)) == 3
    assert failed == []

    inner.down = True
    with pytest.raises(Unavailable) as first:
        await embedder.embed(["a"], "query", IDENTITY)
    with pytest.raises(Unavailable):
        await embedder.embed_each(callers, IDENTITY)
    message = str(first.value)
    assert failed == [("query", message), ("passage", message), ("query", message)]
