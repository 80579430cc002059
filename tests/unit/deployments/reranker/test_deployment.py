"""The node without Ray: scores, cancelled calls, the event loop, imports."""

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
    """An encoder that waits for `release` before it scores, and that can be stopped."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.stopped: list[str] = []
        self.release = threading.Event()

    def scores(self, query: str, texts: Sequence[str], stop: Callable[[], bool]) -> list[float]:
        self.started.append(query)
        while not self.release.wait(0.005):
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


async def test_node_returns_the_scores_of_its_model(reranker: Reranker) -> None:
    scores = await reranker.scores("green tea", ["a train", "green tea", "tea"])
    assert sorted(scores) == [scores[0], scores[2], scores[1]]
    assert len(set(scores)) == 3


async def test_call_cancelled_in_the_queue_is_never_started(
    reranker: Reranker, encoder: Encoder
) -> None:
    first = asyncio.create_task(reranker.scores("first", ["x"]))
    await until(lambda: encoder.started)
    second = asyncio.create_task(reranker.scores("second", ["x"]))
    third = asyncio.create_task(reranker.scores("third", ["x"]))
    await asyncio.sleep(0.02)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    encoder.release.set()
    assert (await first, await third) == ([1.0], [1.0])
    assert encoder.started == ["first", "third"]


async def test_cancelling_a_running_call_stops_its_scoring(
    reranker: Reranker, encoder: Encoder
) -> None:
    running = asyncio.create_task(reranker.scores("running", ["x"]))
    await until(lambda: encoder.started)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: encoder.stopped)
    encoder.release.set()
    assert await reranker.scores("next", ["x"]) == [1.0]


async def test_scoring_does_not_block_the_event_loop(reranker: Reranker, encoder: Encoder) -> None:
    running = asyncio.create_task(reranker.scores("running", ["x"]))
    await until(lambda: encoder.started)  # on this loop, while the inference blocks its thread
    encoder.release.set()
    assert await running == [1.0]


def test_node_is_imported_without_its_libraries() -> None:
    """Every process that builds the graph imports the node, even if no reranker is set."""
    code = (
        "import sys, deployments.reranker.deployment as _\n"
        "assert not {'fastembed', 'onnxruntime', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
