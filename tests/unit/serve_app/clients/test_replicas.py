"""What an ingress does before its first call to the embedder."""

import asyncio
from typing import Any

import pytest

from serve_app import ingress
from serve_app.clients import replicas
from serve_app.settings import Settings, load_settings
from tests.support.fakes.embedder import IDENTITY


class Handle:
    """A deployment handle that learns of a replica when it has been looked at `looks` times, once
    it has begun to listen."""

    def __init__(self, looks: float, answer: Any = None) -> None:
        self._looks = looks
        self._listens = False
        self._answer = answer
        self.called_unknown: list[str] = []
        """What was called while it knew of none."""
        self.calls = 0

    def running_replicas_populated(self) -> bool:
        self._looks -= self._listens
        return self._looks < 0

    def options(self, method_name: str = "", **_options: Any) -> Any:
        self._listens = True

        async def remote(*_args: Any, **_extra: Any) -> Any:
            self.calls += 1
            if self._looks >= 0:
                self.called_unknown.append(method_name)
            return self._answer

        return type("Method", (), {"remote": staticmethod(remote)})


async def test_it_is_waited_for_until_there_is_one() -> None:
    handle = Handle(looks=3)
    async with asyncio.timeout(10):
        await replicas.wait_for_one(handle, 60)
    assert handle.running_replicas_populated()


async def test_it_is_not_waited_for_without_end() -> None:
    handle = Handle(looks=float("inf"))
    async with asyncio.timeout(10):
        await replicas.wait_for_one(handle, 0.05)
    assert not handle.running_replicas_populated()


@pytest.fixture
def settings(tmp_path: Any) -> Settings:
    return load_settings({"MEMEX_DATA_DIR": str(tmp_path), "MEMEX_METRICS": "off"})


@pytest.mark.parametrize("front", ["rest", "mcp"])
async def test_the_embedder_is_not_called_before_there_is_one(
    settings: Settings, front: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "deployments.runtime.node.prepare", lambda _name: None
    )  # the process's own log
    embedder, store = Handle(looks=3, answer=IDENTITY), Handle(looks=0, answer=1)
    nodes = {"Embedder": embedder, "MemoryStore": store}
    made: Any = {"rest": ingress.RestIngress, "mcp": ingress.McpIngress}[front](settings, nodes)
    async with asyncio.timeout(10):
        await made.__serve_build_asgi_app__()
    assert embedder.calls == 1
    assert embedder.called_unknown == []
