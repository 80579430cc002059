"""The graph with a reranker, whose stand-in model counts common words."""

import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.models.cross_encoder import put_into
from tests.support.ray.service import NO_LIMITS, Service

MODEL = "Xenova/ms-marco-MiniLM-L-6-v2"
SCOPE = {"agent_id": "agent", "user_id": "user"}


@pytest.fixture(scope="module")
def service(no_shared_service: None) -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="memex-", ignore_cleanup_errors=True) as root:
        (Path(root) / "lock").touch()  # marks it as a data folder of memex
        put_into(Path(root) / "models", MODEL)
        service = Service(
            Path(root),
            **NO_LIMITS,
            MEMEX_RERANKER_MODEL=MODEL,
            MEMEX_RERANKER_BUDGET_MS="1000",
            HF_HUB_OFFLINE="1",
        )
        with service.running():
            yield service


async def test_reranker_reorders_in_time_and_is_skipped_if_late(
    service: Service, client: httpx2.AsyncClient
) -> None:
    for content in ("a feline animal", "green tea is what the cat likes", "the sea is blue"):
        answer = await client.post("/v1/memories", json={**SCOPE, "content": content})
        assert answer.status_code == 201

    async def search() -> dict[str, Any]:
        body = {**SCOPE, "query": "the sea is green", "mode": "semantic", "top_k": 2}
        answer = await client.post("/v1/memories/search", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    found = await search()
    assert found["reranked"] is True
    assert [hit["content"] for hit in found["results"]] == [
        "the sea is blue",
        "green tea is what the cat likes",
    ]

    (replica,) = service.replicas("Reranker")
    replica.send_signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        late = await search()
        assert 0.9 < time.monotonic() - started < 5
        assert late["reranked"] is False
        assert [hit["score"] for hit in late["results"]] == sorted(
            (hit["score"] for hit in late["results"]), reverse=True
        )
    finally:
        replica.send_signal(signal.SIGCONT)
    for _ in range(20):
        if (await search())["reranked"]:
            return
    pytest.fail("the reranker did not answer again")
