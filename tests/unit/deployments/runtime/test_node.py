"""Errors, log lines and traces of a deployment's calls."""

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
from deployments.domain.rate_limits import Quota, RateLimit
from deployments.embedder.deployment import Embedder
from deployments.runtime import node, quota_reports
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


async def records_of_failure(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> list[logging.LogRecord]:
    """The log records of a call that raises `error`."""
    caplog.clear()
    with pytest.raises(type(error)):
        await Node().through(error)
    return caplog.records


async def test_answers_are_returned_unchanged() -> None:
    assert await Node().one(None) == "answer"
    assert await Node().through(error=None) == "answer"
    assert inspect.iscoroutinefunction(Node().one)  # Serve inspects this


async def test_unexpected_error_is_logged_once_and_raised_as_a_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(Fault, match=r"\(KeyError\)") as fault:
        await Node().through(KeyError(CONTENT))
    assert CONTENT not in repr(fault.value)
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("ERROR", "Node.one failed")
    assert record.name.startswith("ray.serve.")  # Serve writes only these to its files
    assert record.exc_info is not None


async def test_unavailable_is_one_warning_with_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    error = Unavailable("database")
    error.__cause__ = ConnectionRefusedError(111, "Connection refused", CONTENT)
    (record,) = await records_of_failure(error, caplog)
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "Node.one failed: the database is not available right now "
        "(ConnectionRefusedError: Connection refused)"
    )


async def test_wrong_setting_is_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    (record,) = await records_of_failure(ModelMismatch("another model"), caplog)
    assert record.levelname == "ERROR"


async def test_errors_that_answer_the_caller_are_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert await records_of_failure(RateLimited("agent", "write", 60, 1.0), caplog) == []


async def test_methods_outside_the_port_are_not_wrapped() -> None:
    with pytest.raises(KeyError):
        await Node().not_of_the_port(KeyError())


@pytest.mark.parametrize(
    ("deployment", "ports"),
    [
        (Embedder, [BatchedEmbedder]),
        (MemoryStore, [field.type for field in dataclasses.fields(BatchedStore)]),
    ],
)
def test_every_port_method_of_the_nodes_takes_a_trace(deployment: type, ports: list[Any]) -> None:
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


async def test_node_of_parts_has_the_methods_of_its_parts(caplog: pytest.LogCaptureFixture) -> None:
    @node.answering_by_parts(Parts)
    class OfParts:
        parts = Parts(Part())

    of_parts: Any = OfParts()
    assert await of_parts.one(None) == "of a part"
    with pytest.raises(Fault):
        await of_parts.through(error=KeyError(CONTENT))
    assert [record.getMessage() for record in caplog.records] == ["OfParts.through failed"]


async def test_quotas_that_a_part_reports_go_with_its_result() -> None:
    quota = Quota("agent", RateLimit("write", 60), 59, 60.0)

    class Counting(Part):
        async def one(self, error: Exception | None) -> str:
            quota_reports.report(quota)
            return await super().one(error)

    @node.answering_by_parts(Parts)
    class OfParts:
        parts = Parts(Counting())

    of_parts: Any = OfParts()
    for _ in range(2):
        counted = await of_parts.one(None)
        assert counted == quota_reports.WithQuotas("of a part", [quota])
    quota_reports.report(quota)  # outside a call: nobody collects it


def test_two_parts_with_a_method_of_the_same_name_are_refused() -> None:
    @dataclass(frozen=True)
    class Alike(Parts):
        second: Port

    with pytest.raises(TypeError, match="Alike has two methods"):

        @node.answering_by_parts(Alike)
        class OfAlike: ...
