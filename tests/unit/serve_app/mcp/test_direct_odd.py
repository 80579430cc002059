"""Unusual requests go to the SDK, or are answered exactly as the SDK answers them."""

import json
from typing import Any

import pytest
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.types import Message

from serve_app.web.fields import MAX_BODY_BYTES
from tests.support.mcp.both_ways import (
    NEWEST,
    OLDER,
    PREFIX,
    VERSIONS,
    Both,
    count_message,
    headers_of,
)


def setter(path: str, value: Any) -> Any:
    """A function that sets the value at a path such as `params name`; None removes the key."""

    def change(body: dict[str, Any]) -> None:
        *above, last = path.split(" ")
        for name in above:
            body = body.setdefault(name, {})
        if value is None:
            body.pop(last, None)
        else:
            body[last] = value

    return change


ODD: dict[str, Any] = {
    "jsonrpc": setter("jsonrpc", "1.0"),
    "no jsonrpc": setter("jsonrpc", None),
    "a notification": setter("id", None),
    "an id of null": lambda body: body.update(id=None),
    "an id of true": setter("id", True),
    "a float as id": setter("id", 1.0),
    "a list as id": setter("id", []),
    "a long id": setter("id", 2**70),
    "more keys": setter("extra", 1),
    "a response": lambda body: body.update(result={}),
    "another method": setter("method", "tools/list"),
    "an unknown method": setter("method", "tools/none"),
    "no method": setter("method", None),
    "no params": setter("params", None),
    "params of null": lambda body: body.update(params=None),
    "a list of params": setter("params", []),
    "an unknown tool": setter("params name", "remember"),
    "no name": setter("params name", None),
    "a list as name": setter("params name", []),
    "arguments of null": lambda body: body["params"].update(arguments=None),
    "a list of arguments": setter("params arguments", []),
    "an unknown argument": setter("params arguments k", 1),
    "a surrogate in a key": setter("params arguments \ud800", 1),
    "a task": setter("params task", {"ttl": 1}),
    "a bad task": setter("params task", 1),
    "input responses": setter("params inputResponses", {}),
    "a request state": setter("params requestState", "s"),
    "a list as meta": setter("params _meta", []),
    "a bad token": setter("params _meta progressToken", []),
    "a float as token": setter("params _meta progressToken", 1.5),
    "a token of null": lambda body: body["params"].update(
        _meta={**body["params"].get("_meta", {}), "progressToken": None}
    ),
}
MODERN_ODD: dict[str, Any] = {
    "no meta": setter("params _meta", None),
    "meta of null": lambda body: body["params"].update(_meta=None),
    "no version": setter(f"params _meta {PREFIX}protocolVersion", None),
    "another version": setter(f"params _meta {PREFIX}protocolVersion", OLDER),
    "a number as version": setter(f"params _meta {PREFIX}protocolVersion", 1),
    "no capabilities": setter(f"params _meta {PREFIX}clientCapabilities", None),
    "bad capabilities": setter(f"params _meta {PREFIX}clientCapabilities", []),
    "a bad capability": setter(f"params _meta {PREFIX}clientCapabilities", {"sampling": 1}),
    "a bad client": setter(f"params _meta {PREFIX}clientInfo", {"name": 1}),
    "a bad level": setter(f"params _meta {PREFIX}logLevel", "loud"),
}


@pytest.mark.parametrize(
    ("version", "name"),
    [(version, name) for version in (NEWEST, OLDER) for name in ODD]
    + [(NEWEST, name) for name in MODERN_ODD],
)
async def test_unusual_messages_go_to_the_sdk(
    sdk_calls: list[str], version: str, name: str
) -> None:
    body = count_message(version)
    (ODD | MODERN_ODD)[name](body)
    async with Both(sdk_calls).serving() as both:
        _, handler = await both.post(body, headers_of(version, "count_memories"))
        assert handler == "sdk"


@VERSIONS
@pytest.mark.parametrize(
    "alter",
    [
        lambda text: "",
        lambda text: "{",
        lambda text: f"[{text}]",
        lambda text: f"[{text}, {text}]",
        lambda text: "null",
        lambda text: f"{text} x",
        lambda text: f"\ufeff{text}",
        lambda text: text.encode("utf-16"),
        lambda text: text.encode().replace(b'"a"', b'"\xff"'),
        lambda text: text.replace('"id": 1', '"id": 1e0'),
        lambda text: text.replace('"id": 1', '"id": 01'),
        lambda text: text.replace('"id": 1', '"id": NaN'),
        lambda text: text.replace('"id": 1', f'"id": {"1" * 5_000}'),
        lambda text: text.replace('"a"', "1" * 5_000),
        lambda text: text.replace('"id": 1', '"id": 2, "id": 1'),
        lambda text: text.replace('"agent_id"', '"agent_id": "b", "agent_id"'),
        lambda text: text.replace('"method"', '"method": "ping", "method"'),
        lambda text: text.replace('"a"', '"' + "a" * 200 + '"'),
        lambda text: text.replace('"a"', "[" * 100_000),
        lambda text: text.replace('"a"', "[" * 150 + "]" * 150),
        lambda text: text.replace('"a"', "[" * 600 + "]" * 600),
        lambda text: text + " " * (MAX_BODY_BYTES - len(text)),
        lambda text: text + " " * (MAX_BODY_BYTES - len(text) + 1),
    ],
)
async def test_unusual_bodies_are_answered_like_the_sdk(
    sdk_calls: list[str], version: str, alter: Any
) -> None:
    body = alter(json.dumps(count_message(version)))
    async with Both(sdk_calls).serving() as both:
        headers = headers_of(version, "count_memories")
        await both.post(body.encode() if isinstance(body, str) else body, headers)


@VERSIONS
async def test_body_in_chunks_is_answered_directly(sdk_calls: list[str], version: str) -> None:
    async with Both(sdk_calls).serving() as both:
        headers = headers_of(version, "count_memories")
        answer, handler = await both.post(count_message(version), headers, pieces=3)
        assert (answer.status_code, handler) == (200, "direct")


@VERSIONS
@pytest.mark.parametrize(
    ("name", "value", "handler"),
    [
        ("accept", "application/json", "direct"),
        ("accept", "text/event-stream , application/json", "direct"),
        ("accept", "*/*", "sdk"),
        ("accept", "text/event-stream", "sdk"),
        ("accept", "application/json;q=0.5", "sdk"),
        ("content-type", "application/json; charset=utf-8", "sdk"),
        ("content-type", "application/jsonx", "sdk"),
        ("content-type", "text/plain", "sdk"),
        ("mcp-protocol-version", "2027-01-01", "sdk"),
        ("mcp-protocol-version", "", "sdk"),
        ("mcp-session-id", "s", "direct"),
        ("mcp-param-agent", "b", "direct"),
        ("x-memex-agent", "ü", "direct"),
        ("x-memex-agent", "", None),
        ("host", "evil.example", None),
        ("origin", "https://evil.example", None),
    ],
)
async def test_unusual_headers_are_answered_like_the_sdk(
    sdk_calls: list[str], version: str, name: str, value: str, handler: str | None
) -> None:
    """`handler` is None if the request is refused before it reaches one."""
    headers = {**headers_of(version, "count_memories"), name: value}
    raw_headers = [(key, text.encode()) for key, text in headers.items()]
    async with Both(sdk_calls).serving() as both:
        answer, actual = await both.post(count_message(version), raw_headers)  # type: ignore[arg-type]
        assert answer.status_code >= 400 if handler is None else actual == handler


@VERSIONS
@pytest.mark.parametrize(
    "name", ["accept", "content-type", "mcp-protocol-version", "mcp-method", "mcp-name"]
)
async def test_missing_and_repeated_headers_are_answered_like_the_sdk(
    sdk_calls: list[str], version: str, name: str
) -> None:
    headers = headers_of(version, "count_memories")
    value = headers.pop(name, "x")
    async with Both(sdk_calls).serving() as both:
        # Empty, because httpx2 would add an Accept header of its own.
        remaining = {"accept": "", **headers} if name == "accept" else headers
        await both.post(count_message(version), remaining)
        _, handler = await both.post(count_message(version), [*headers.items(), (name, value)] * 2)
        assert handler == "sdk"
        await both.post(count_message(version), {**headers, name: f"{value}x"})


@pytest.mark.parametrize("name", ["=?base64?Y291bnRfbWVtb3JpZXM=?=", "=?base64?*?="])
async def test_base64_tool_name_in_a_header(sdk_calls: list[str], name: str) -> None:
    headers = {**headers_of(NEWEST, "count_memories"), "mcp-name": name}
    async with Both(sdk_calls).serving() as both:
        answer, _ = await both.post(count_message(NEWEST), headers)
        assert answer.status_code == (400 if "*" in name else 200)


@pytest.mark.parametrize("version", HANDSHAKE_PROTOCOL_VERSIONS)
async def test_newest_message_under_an_older_version_is_answered_like_the_sdk(
    sdk_calls: list[str], version: str
) -> None:
    async with Both(sdk_calls).serving() as both:
        headers = headers_of(NEWEST, "count_memories") | {"mcp-protocol-version": version}
        answer, _ = await both.post(count_message(NEWEST), headers)
        assert answer.status_code == 200


@VERSIONS
async def test_client_disconnect_is_handled_like_the_sdk(
    sdk_calls: list[str], version: str
) -> None:
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/mcp",
        "root_path": "/mcp",
        "headers": [
            (name.encode(), value.encode())
            for name, value in headers_of(version, "count_memories").items()
        ]
        + [(b"host", b"localhost")],
    }
    first_message: Message = {
        "type": "http.request",
        "body": json.dumps(count_message(version)).encode(),
        "more_body": True,
    }
    outcomes = []
    async with Both(sdk_calls).serving() as both:
        for side in both.sides:
            messages: list[Message] = [first_message, {"type": "http.disconnect"}]
            sent: list[Message] = []

            async def receive(messages: list[Message] = messages) -> Message:
                return messages.pop(0)

            async def send(message: Message, sent: list[Message] = sent) -> None:
                sent.append(message)

            raised: type[Exception] | None = None
            try:
                await side.app(scope, receive, send)
            except Exception as error:
                raised = type(error)
            assert not messages
            assert side.metrics.tools == []
            outcomes.append((sent, raised))
    assert outcomes[0] == outcomes[1]
