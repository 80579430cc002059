"""The node without Ray: who is served, and who no longer is."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from deployments.reranker.deployment import Reranker
from deployments.reranker.settings import RerankerSettings
from tests.support.models.cross_encoder import NAME


class Encoder:
    """Scores when it is let `go`, unless it is told to stop."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.stopped: list[str] = []
        self.go = threading.Event()

    def scores(self, query: str, texts: Sequence[str], stop: Callable[[], bool]) -> list[float]:
        self.begun.append(query)
        while not self.go.wait(0.005):
            if stop():
                self.stopped.append(query)
                raise CancelledError
        return [1.0] * len(texts)


@pytest.fixture
def reranker(cross_encoders_dir: Path) -> Reranker:
    return Reranker(RerankerSettings(model=NAME), str(cross_encoders_dir), 1)


@pytest.fixture
def encoder(reranker: Reranker, monkeypatch: pytest.MonkeyPatch) -> Encoder:
    encoder = Encoder()
    monkeypatch.setattr(reranker, "_encoder", encoder)
    return encoder


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # threads change it
            await asyncio.sleep(0.005)


async def test_scores_are_the_models(reranker: Reranker) -> None:
    scores = await reranker.scores("green tea", ["a train", "green tea", "tea"])
    assert sorted(scores) == [scores[0], scores[2], scores[1]]
    assert len(set(scores)) == 3


async def test_a_call_that_is_cancelled_in_the_queue_is_never_begun(
    reranker: Reranker, encoder: Encoder
) -> None:
    first = asyncio.create_task(reranker.scores("first", ["x"]))
    await until(lambda: encoder.begun)
    late = asyncio.create_task(reranker.scores("late", ["x"]))
    third = asyncio.create_task(reranker.scores("third", ["x"]))
    await asyncio.sleep(0.02)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    encoder.go.set()
    assert (await first, await third) == ([1.0], [1.0])
    assert encoder.begun == ["first", "third"]


async def test_a_running_call_ends_when_it_is_cancelled(
    reranker: Reranker, encoder: Encoder
) -> None:
    running = asyncio.create_task(reranker.scores("running", ["x"]))
    await until(lambda: encoder.begun)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: encoder.stopped)
    encoder.go.set()
    assert await reranker.scores("next", ["x"]) == [1.0]


async def test_the_event_loop_stays_free(reranker: Reranker, encoder: Encoder) -> None:
    running = asyncio.create_task(reranker.scores("running", ["x"]))
    await until(lambda: encoder.begun)  # on this loop, while the inference blocks its thread
    encoder.go.set()
    assert await running == [1.0]


def test_the_node_is_imported_without_its_libraries() -> None:
    """Whoever builds the graph imports it, with or without a reranker."""
    code = (
        "import sys, deployments.reranker.deployment as _\n"
        "assert not {'fastembed', 'onnxruntime', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
