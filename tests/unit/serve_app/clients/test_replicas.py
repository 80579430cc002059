"""How an ingress waits for a replica before its first call to the embedder."""

import asyncio
from typing import Any

import pytest

from serve_app import ingress
from serve_app.clients import replicas
from serve_app.settings import Settings, load_settings
from tests.support.fakes.embedder import IDENTITY


class Handle:
    """A deployment handle that knows a replica after `checks` checks, counted from its first call
    of `options`."""

    def __init__(self, checks: float, answer: Any = None) -> None:
        self._checks = checks
        self._listens = False
        self._answer = answer
        self.early_calls: list[str] = []
        """The methods called while it knew no replica."""
        self.calls = 0

    def running_replicas_populated(self) -> bool:
        self._checks -= self._listens
        return self._checks < 0

    def options(self, method_name: str = "", **_options: Any) -> Any:
        self._listens = True

        async def remote(*_args: Any, **_extra: Any) -> Any:
            self.calls += 1
            if self._checks >= 0:
                self.early_calls.append(method_name)
            return self._answer

        return type("Method", (), {"remote": staticmethod(remote)})


async def test_wait_ends_when_a_replica_is_known() -> None:
    handle = Handle(checks=3)
    async with asyncio.timeout(10):
        await replicas.wait_for_replica(handle, 60)
    assert handle.running_replicas_populated()


async def test_wait_ends_after_its_timeout() -> None:
    handle = Handle(checks=float("inf"))
    async with asyncio.timeout(10):
        await replicas.wait_for_replica(handle, 0.05)
    assert not handle.running_replicas_populated()


@pytest.fixture
def settings(tmp_path: Any) -> Settings:
    return load_settings({"MEMEX_DATA_DIR": str(tmp_path), "MEMEX_METRICS": "off"})


@pytest.mark.parametrize("kind", ["rest", "mcp"])
async def test_ingress_does_not_call_the_embedder_before_it_knows_a_replica(
    settings: Settings, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "deployments.runtime.node.prepare", lambda _name: None
    )  # it would change this process's logging
    embedder, store = Handle(checks=3, answer=IDENTITY), Handle(checks=0, answer=1)
    nodes = {"Embedder": embedder, "MemoryStore": store}
    replica: Any = {"rest": ingress.RestIngress, "mcp": ingress.McpIngress}[kind](settings, nodes)
    async with asyncio.timeout(10):
        await replica.__serve_build_asgi_app__()
    assert embedder.calls == 1
    assert embedder.early_calls == []
