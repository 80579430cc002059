"""Arguments as models write them, at every argument of every tool, over HTTP: answered directly and
by the SDK, with equal answers."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from serve_app.mcp.plain_schema import types_of
from serve_app.mcp.scope import FixedScope
from serve_app.mcp.tools import TOOLS
from tests.support.mcp.both_ways import NEWEST, OLDER, SCOPE, VERSIONS, Both, headers_of, message
from tests.support.schemas.samples import Path, Samples, misspelt

SAMPLES = Samples()
SCHEMAS = {name: tool.definition(FixedScope()).input_schema for name, tool in TOOLS.items()}
PROPERTIES = [(tool, *field) for tool, s in SCHEMAS.items() for field in SAMPLES.properties(s)]
ALL = [(tool, path) for tool, path, _, _ in PROPERTIES]
OPTIONAL = [(tool, path) for tool, path, _, is_required in PROPERTIES if not is_required]
REQUIRED = [(tool, path) for tool, path, _, is_required in PROPERTIES if is_required]
WHOLE = [(tool, p, s["minimum"]) for tool, p, s, _ in PROPERTIES if s["type"] == "integer"]
NOT_TEXT = [(tool, p, s) for tool, p, s, _ in PROPERTIES if "string" not in types_of(s)]


def named(value: Any) -> str | None:
    return ".".join(map(str, value)) if isinstance(value, tuple) else None


class Caller:
    """Calls tools, with the id of a memory that exists."""

    def __init__(self, both: Both, memory_id: str) -> None:
        self._both = both
        self._memory_id = memory_id

    async def call(self, tool: str, **arguments: Any) -> str | None:
        """The error's text; None if the call succeeds. Required arguments are filled in."""
        filled = SAMPLES.value(SCHEMAS[tool]) | {"agent_id": "a"}
        if "id" in filled:
            filled["id"] = self._memory_id
        if tool == "update_memory":
            filled |= {"importance": 1, "memory_type": "semantic"}
        body = message(OLDER, tool, filled | arguments)
        answer, _ = await self._both.post(body, headers_of(OLDER, tool))
        result = answer.json()["result"]
        return result["content"][0]["text"] if result["isError"] else None

    async def refusal(self, tool: str, **arguments: Any) -> str:
        """The error's text."""
        text = await self.call(tool, **arguments)
        assert text is not None
        return text


@asynccontextmanager
async def calling(sdk_calls: list[str]) -> AsyncIterator[Caller]:
    async with Both(sdk_calls).serving() as both:
        memory: dict[str, Any] = {**SCOPE, "content": "c"}
        stored = await both.call(OLDER, "store_memory", **memory)
        yield Caller(both, stored["structuredContent"]["id"])


def test_there_are_arguments_of_every_kind() -> None:
    assert len(OPTIONAL) >= 15
    assert len(WHOLE) >= 4
    assert {schema["type"] for _, _, schema in NOT_TEXT} >= {"integer", "number", "object"}


@pytest.mark.parametrize("tool", TOOLS)
async def test_sample_is_accepted(sdk_calls: list[str], tool: str) -> None:
    async with calling(sdk_calls) as caller:
        assert await caller.call(tool) is None


@pytest.mark.parametrize(("tool", "path"), OPTIONAL, ids=named)
async def test_null_for_an_optional_argument_is_its_default(
    sdk_calls: list[str], tool: str, path: Path
) -> None:
    async with calling(sdk_calls) as caller:
        assert await caller.call(tool, **{str(path[0]): None}) is None


@pytest.mark.parametrize(("tool", "path"), REQUIRED, ids=named)
async def test_null_for_a_required_argument_is_refused(
    sdk_calls: list[str], tool: str, path: Path
) -> None:
    async with calling(sdk_calls) as caller:
        refusal = await caller.refusal(tool, **{str(path[0]): None})
        assert refusal.startswith(f"{path[0]}: ")


@pytest.mark.parametrize(("tool", "path", "least"), WHOLE, ids=named)
async def test_whole_float_is_an_integer(
    sdk_calls: list[str], tool: str, path: Path, least: int
) -> None:
    async with calling(sdk_calls) as caller:
        name = str(path[0])
        for value in (float(least), f"{least}", f"{least}.0", f"{least}e0"):
            assert await caller.call(tool, **{name: value}) is None
        for value in (least + 0.5, f"{least}.5"):
            refusal = await caller.refusal(tool, **{name: value})
            assert refusal.startswith(f"{name}: must be a whole number, not {least}.5")
        for wrong in (True, "true", "ten", [least], ""):
            refusal = await caller.refusal(tool, **{name: wrong})
            assert refusal.startswith(f"{name}: Input should be a valid integer")


@pytest.mark.parametrize(("tool", "path", "schema"), NOT_TEXT, ids=named)
async def test_json_text_is_read_where_no_text_is_asked(
    sdk_calls: list[str], tool: str, path: Path, schema: dict[str, Any]
) -> None:
    async with calling(sdk_calls) as caller:
        value = SAMPLES.value(schema)
        assert await caller.call(tool, **{str(path[0]): json.dumps(value)}) is None
        assert await caller.call(tool, **{str(path[0]): f" {json.dumps(value)}\n"}) is None
        assert await caller.call(tool, **{str(path[0]): "null"}) is None
        for text in ("[", "red", json.dumps(json.dumps(value))):
            refusal = await caller.refusal(tool, **{str(path[0]): text})
            assert refusal.startswith(f"{path[0]}: ")


@pytest.mark.parametrize(("tool", "path"), ALL, ids=named)
async def test_misspelt_argument_is_refused_with_the_right_name(
    sdk_calls: list[str], tool: str, path: Path
) -> None:
    async with calling(sdk_calls) as caller:
        for wrong in misspelt(str(path[0])):
            refusal = await caller.refusal(tool, **{wrong: 1})
            assert refusal.startswith(f"{wrong}: is unknown; did you mean {path[0]}?")


async def test_text_of_an_object_is_stored_as_the_object(sdk_calls: list[str]) -> None:
    text = '{"a": 10.0, "b": "5", "c": {"d": [1, null]}}'
    async with Both(sdk_calls).serving() as both:
        memory: dict[str, Any] = {**SCOPE, "content": "42", "metadata": text}
        stored = await both.call(OLDER, "store_memory", **memory)
        one: dict[str, Any] = {"agent_id": "a", "id": stored["structuredContent"]["id"]}
        read = (await both.call(OLDER, "get_memory", **one))["structuredContent"]
    assert read["metadata"] == json.loads(text)
    assert (type(read["metadata"]["a"]), read["content"]) == (float, "42")


@VERSIONS
async def test_null_for_a_fixed_id_is_the_fixed_id(sdk_calls: list[str], version: str) -> None:
    fixed = {"x-memex-agent": "a", "x-memex-user": "u"}
    async with Both(sdk_calls).serving() as both:
        for content in ("one", "two"):
            ids = dict.fromkeys(["agent_id", "user_id"])
            await both.call(version, "store_memory", headers=fixed, content=content, **ids)
        counted = await both.call(version, "count_memories", agent_id="a", user_id="u")
    assert counted["structuredContent"] == {"count": 2}


@VERSIONS
@pytest.mark.parametrize(
    ("arguments", "count"), [('{"agent_id": "a"}', 1), ('{"agent_id": "b", "user_id": null}', 0)]
)
async def test_all_arguments_may_be_one_json_text(
    sdk_calls: list[str], version: str, arguments: str, count: int
) -> None:
    async with Both(sdk_calls).serving() as both:
        memory: dict[str, Any] = {**SCOPE, "content": "c"}
        await both.call(version, "store_memory", **memory)
        body = message(version, "count_memories", arguments)
        answer, handler = await both.post(body, headers_of(version, "count_memories"))
        assert (handler, answer.json()["result"]["structuredContent"]) == ("sdk", {"count": count})


@VERSIONS
@pytest.mark.parametrize("arguments", ['{"agent_id"', "[]", "7", "", 7, ["agent_id"]])
async def test_other_arguments_are_refused(
    sdk_calls: list[str], version: str, arguments: Any
) -> None:
    async with Both(sdk_calls).serving() as both:
        body = message(version, "count_memories", arguments)
        answer, _ = await both.post(body, headers_of(version, "count_memories"))
        assert answer.json()["error"]["code"] == -32602


def prompt(version: str, arguments: Any) -> tuple[dict[str, Any], dict[str, str]]:
    body = message(version, "recall", arguments) | {"method": "prompts/get"}
    headers = headers_of(version, "recall")
    return body, headers | ({"mcp-method": "prompts/get"} if version == NEWEST else {})


@VERSIONS
@pytest.mark.parametrize("none", [None, ""])
async def test_prompt_arguments_may_be_null_or_blank(
    sdk_calls: list[str], version: str, none: str | None
) -> None:
    fixed = {"x-memex-agent": "a", "x-memex-user": "u"}
    async with Both(sdk_calls).serving() as both:
        body, headers = prompt(version, {"task": "tea", "agent_id": none, "user_id": none})
        answer, _ = await both.post(body, headers | fixed)
        assert "The task: tea" in answer.json()["result"]["messages"][0]["content"]["text"]
        answer, _ = await both.post(body, headers)
        assert "agent_id: is missing" in answer.json()["error"]["message"]
        body, headers = prompt(version, {"task": "tea", "agentId": "a", "user_id": "u"})
        answer, _ = await both.post(body, headers)
        expected = "agentId: is unknown; did you mean agent_id?"
        assert answer.json()["error"]["message"].startswith(expected)
