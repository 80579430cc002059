"""What a deployment's class does for each call of its port."""

import inspect
import logging
from collections.abc import Sequence
from typing import Any, Protocol

import pytest

from deployments import node
from deployments.domain.errors import Fault, ModelMismatch, RateLimited, Unavailable
from deployments.domain.ports import BatchedEmbedder, BatchedMemoryStore
from deployments.embedder.deployment import Embedder
from deployments.store.deployment import MemoryStore

CONTENT = "her secret is a blue door"


class Port(Protocol):
    async def one(self, error: Exception | None) -> str: ...

    async def through(self, error: Exception | None) -> str: ...


@node.answering(Port)
class Node:
    async def one(self, error: Exception | None) -> str:
        if error is not None:
            raise error
        return "answer"

    async def through(self, error: Exception | None) -> str:
        return await self.one(error)

    async def not_of_the_port(self, error: Exception) -> None:
        raise error


async def failing(error: Exception, caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    caplog.clear()
    with pytest.raises(type(error)):
        await Node().through(error)
    return caplog.records


async def test_answers_go_through() -> None:
    assert await Node().one(None) == "answer"
    assert await Node().through(error=None) == "answer"
    assert inspect.iscoroutinefunction(Node().one)  # Serve looks


async def test_what_nobody_foresaw_is_a_line_and_a_fault(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Fault, match=r"\(KeyError\)") as raised:
        await Node().through(KeyError(CONTENT))
    assert CONTENT not in repr(raised.value)
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("ERROR", "Node.one failed")
    assert record.name.startswith("ray.serve.")  # or Serve would not write it to its files
    assert record.exc_info is not None


async def test_what_is_away_is_one_warning_with_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    error = Unavailable("database")
    error.__cause__ = ConnectionRefusedError(111, "Connection refused", CONTENT)
    (record,) = await failing(error, caplog)
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "Node.one failed: the database is not available right now "
        "(ConnectionRefusedError: Connection refused)"
    )


async def test_a_wrong_setting_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    (record,) = await failing(ModelMismatch("another model"), caplog)
    assert record.levelname == "ERROR"


async def test_answers_that_are_errors_are_no_line(caplog: pytest.LogCaptureFixture) -> None:
    assert await failing(RateLimited("agent", "write", 60, 1.0), caplog) == []


async def test_what_is_not_of_the_port_is_left_as_it_is() -> None:
    with pytest.raises(KeyError):
        await Node().not_of_the_port(KeyError())


@pytest.mark.parametrize(
    ("deployment", "port"), [(Embedder, BatchedEmbedder), (MemoryStore, BatchedMemoryStore)]
)
def test_every_method_of_the_nodes_takes_a_trace(deployment: type, port: type) -> None:
    methods: Sequence[Any] = [
        getattr(deployment, name) for name in dir(port) if not name.startswith("_")
    ]
    assert methods
    assert all(method.__kwdefaults__ == {"trace": None} for method in methods)
