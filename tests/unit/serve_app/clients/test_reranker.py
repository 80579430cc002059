"""Calls to the reranker: their deadline and their errors."""

import asyncio
from collections.abc import Generator
from typing import Any

import pytest
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError

from deployments.domain.errors import Unavailable
from serve_app.clients.reranker import RemoteReranker
from tests.support.clients.handles import actor_unavailable


class Response:
    """The response of a Serve handle, which callers await or cancel; None never arrives."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.cancelled = False

    def __await__(self) -> Generator[Any, None, Any]:
        return self._wait().__await__()

    async def _wait(self) -> Any:
        if self._answer is None:
            await asyncio.sleep(60)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def cancel(self) -> None:
        self.cancelled = True


class RerankerHandle:
    """Each call answers with `answer`, or never if it is None."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.calls: list[tuple[Any, ...]] = []
        self.responses: list[Response] = []

    def options(self, *, method_name: str, **_options: Any) -> "RerankerHandle":
        assert method_name == "scores"
        return self

    def remote(self, *args: Any) -> Response:
        self.calls.append(args)
        self.responses.append(Response(self._answer))
        return self.responses[-1]


async def test_answer_in_time_is_returned_and_not_cancelled() -> None:
    handle = RerankerHandle([0.5, -1.0])
    assert await RemoteReranker(handle, 5).scores("query", ["a", "b"]) == [0.5, -1.0]
    assert handle.calls == [("query", ["a", "b"])]
    assert not handle.responses[0].cancelled


async def test_late_reranker_is_unavailable_and_its_call_is_cancelled() -> None:
    handle = RerankerHandle(None)
    with pytest.raises(Unavailable, match="reranker"):
        await RemoteReranker(handle, 0.05).scores("query", ["a"])
    assert [response.cancelled for response in handle.responses] == [True]


async def test_cancelled_request_cancels_its_reranking() -> None:
    handle = RerankerHandle(None)
    request = asyncio.create_task(RemoteReranker(handle, 5).scores("query", ["a"]))
    await asyncio.sleep(0.01)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert [response.cancelled for response in handle.responses] == [True]


@pytest.mark.parametrize("answer", [actor_unavailable(), RayActorError(), BackPressureError(1, 1)])
async def test_failing_reranker_is_unavailable_and_not_retried(
    answer: Exception,
) -> None:
    handle = RerankerHandle(answer)
    with pytest.raises(Unavailable, match="reranker"):
        await RemoteReranker(handle, 5).scores("query", ["a"])
    assert len(handle.calls) == 1
