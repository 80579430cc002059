"""What a deployment's class does for each call of its port."""

import dataclasses
import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from deployments.domain.errors import Fault, ModelMismatch, RateLimited, Unavailable
from deployments.domain.ports.embedding import BatchedEmbedder
from deployments.domain.ports.store import BatchedStore
from deployments.embedder.deployment import Embedder
from deployments.runtime import node
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
    ("deployment", "ports"),
    [
        (Embedder, [BatchedEmbedder]),
        (MemoryStore, [field.type for field in dataclasses.fields(BatchedStore)]),
    ],
)
def test_every_method_of_the_nodes_takes_a_trace(deployment: type, ports: list[Any]) -> None:
    methods: Sequence[Any] = [
        getattr(deployment, name)
        for port in ports
        for name in dir(port)
        if not name.startswith("_")
    ]
    assert methods
    assert all(method.__kwdefaults__ == {"trace": None} for method in methods)


@dataclass(frozen=True)
class Parts:
    first: Port


class Part:
    async def one(self, error: Exception | None) -> str:
        if error is not None:
            raise error
        return "of a part"

    async def through(self, error: Exception | None) -> str:
        return await self.one(error)


async def test_a_node_of_parts_has_their_methods(caplog: pytest.LogCaptureFixture) -> None:
    @node.answering_by_parts(Parts)
    class OfParts:
        parts = Parts(Part())

    of_parts: Any = OfParts()
    assert await of_parts.one(None) == "of a part"
    with pytest.raises(Fault):
        await of_parts.through(error=KeyError(CONTENT))
    assert [record.getMessage() for record in caplog.records] == ["OfParts.through failed"]


def test_two_parts_may_not_have_methods_of_one_name() -> None:
    @dataclass(frozen=True)
    class Alike(Parts):
        second: Port

    with pytest.raises(TypeError, match="Alike has two methods"):

        @node.answering_by_parts(Alike)
        class OfAlike: ...
