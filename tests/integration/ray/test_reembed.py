"""`memex reembed` while the service runs, with continuous writes and searches."""

import asyncio
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from deployments.domain.ports.embedding import Encoder
from deployments.embedder.encoders.load import load_encoder
from deployments.embedder.settings import EmbeddingSettings
from tests.support.models import bag_of_words
from tests.support.ray.service import NO_LIMITS, Service

SCOPE = {"agent_id": "agent", "user_id": "user"}
MEMORIES = 300


@pytest.fixture(scope="module")
def service(no_shared_service: None) -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="memex-", ignore_cleanup_errors=True) as root:
        (Path(root) / "lock").touch()  # marks it as a data folder of memex
        bag_of_words.put_into(Path(root) / "models")
        service = Service(Path(root), **NO_LIMITS, HF_HUB_OFFLINE="1")
        yield service
        service.kill()


def reembed(service: Service, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "serve_app.cli", "reembed", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **service.settings},
    )


async def output_of(process: subprocess.Popen[str]) -> str:
    text, _ = await asyncio.to_thread(process.communicate, timeout=120)
    return text


async def search(client: httpx2.AsyncClient, query: str, top_k: int = 1) -> list[dict[str, Any]]:
    ranking = {"mode": "semantic", "alpha": 1.0, "diversity": 0}
    body = {**SCOPE, "query": query, **ranking, "top_k": top_k}
    answer = await client.post("/v1/memories/search", json=body)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


async def add(client: httpx2.AsyncClient, *contents: str) -> None:
    memories = [{**SCOPE, "content": content} for content in contents]
    answer = await client.post("/v1/memories/batch", json={"memories": memories})
    assert answer.status_code == 201, answer.text


async def check_exact(client: httpx2.AsyncClient, encoder: Encoder, contents: list[str]) -> None:
    """Check that searches over all contents have the model's exact scores."""
    rows = encoder.encode(contents, "passage")
    for query in ("which colours are there?", "note 7", contents[-1]):
        cosines = rows @ encoder.encode([query], "query")[0]
        hits = await search(client, query, 10)
        assert [hit["score"] for hit in hits] == pytest.approx(
            np.sort(cosines)[::-1][:10].tolist(), abs=1e-3
        )
        best = {contents[place] for place in np.argsort(-cosines)[:12]}
        assert {hit["content"] for hit in hits} <= best


async def test_service_continues_while_reembedding(service: Service, models_dir: Path) -> None:
    service.start()
    fp32 = load_encoder(EmbeddingSettings(precision="fp32"), models_dir)
    colours = ("red", "green", "blue", "white", "black", "grey", "pink")
    things = ("a house", "the sea", "a train", "her violin", "an old book")
    contents = [
        f"note {n}: {things[n % 5]} is {colours[n % 7]} on day {n * n % 97}"
        for n in range(MEMORIES)
    ]
    stop = asyncio.Event()
    stored = list(contents)
    calls = itertools.count()

    async with service.client() as client:
        for start in range(0, MEMORIES, 100):
            await add(client, *contents[start : start + 100])

        async def keep_searching() -> None:
            for turn in itertools.count():
                if stop.is_set():
                    return
                text = contents[turn * 7 % MEMORIES]
                (hit,) = await search(client, text)
                assert hit["score"] > 0.97, (hit, text)
                next(calls)

        async def keep_writing() -> None:
            for turn in itertools.count():
                if stop.is_set():
                    return
                text = f"written meanwhile: {turn} apples and {turn * turn} pears"
                await add(client, text)
                stored.append(text)
                next(calls)
                await asyncio.sleep(0.02)

        async with asyncio.TaskGroup() as group:
            group.create_task(keep_searching())
            group.create_task(keep_writing())
            printed = await output_of(reembed(service, "--precision", "fp32"))
            assert "memories are embedded with sentence-transformers" in printed, printed
            before = next(calls)
            while next(calls) < before + 50:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            stop.set()

        assert len(stored) > MEMORIES + 20
        await check_exact(client, fp32, stored)
        health = await client.get("/health")
        assert health.json()["embedder"] == "ok"
    assert service.stop() == 0

    # A model of another width, with the service stopped.
    printed = await output_of(reembed(service, "--model", bag_of_words.MODEL))
    assert f"{len(stored)} memories are embedded with {bag_of_words.MODEL}" in printed, printed

    # The next start takes the model from the database, and refuses a setting that differs.
    process = service.launch(MEMEX_EMBEDDING_PRECISION="int8")
    refusal, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"Set MEMEX_EMBEDDING_MODEL={bag_of_words.MODEL}" in refusal
    service.start()
    wide = load_encoder(EmbeddingSettings(model=bag_of_words.MODEL), service.data_dir / "models")
    async with service.client() as client:
        await check_exact(client, wide, stored)
    assert service.stop() == 0
