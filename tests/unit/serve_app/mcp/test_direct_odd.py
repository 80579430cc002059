"""What is out of the ordinary goes to the SDK, or is at least answered as the SDK answers it."""

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
    counting,
    headers_of,
)


def changed(path: str, value: Any) -> Any:
    """Changes a message, at a path such as `params.name`; None takes away what is there."""

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
    "jsonrpc": changed("jsonrpc", "1.0"),
    "no jsonrpc": changed("jsonrpc", None),
    "a notification": changed("id", None),
    "an id of null": lambda body: body.update(id=None),
    "an id of true": changed("id", True),
    "a float as id": changed("id", 1.0),
    "a list as id": changed("id", []),
    "a long id": changed("id", 2**70),
    "more keys": changed("extra", 1),
    "a response": lambda body: body.update(result={}),
    "another method": changed("method", "tools/list"),
    "an unknown method": changed("method", "tools/none"),
    "no method": changed("method", None),
    "no params": changed("params", None),
    "params of null": lambda body: body.update(params=None),
    "a list of params": changed("params", []),
    "an unknown tool": changed("params name", "remember"),
    "no name": changed("params name", None),
    "a list as name": changed("params name", []),
    "arguments of null": lambda body: body["params"].update(arguments=None),
    "a list of arguments": changed("params arguments", []),
    "an unknown argument": changed("params arguments k", 1),
    "a surrogate in a key": changed("params arguments \ud800", 1),
    "a task": changed("params task", {"ttl": 1}),
    "a bad task": changed("params task", 1),
    "input responses": changed("params inputResponses", {}),
    "a request state": changed("params requestState", "s"),
    "a list as meta": changed("params _meta", []),
    "a bad token": changed("params _meta progressToken", []),
    "a float as token": changed("params _meta progressToken", 1.5),
    "a token of null": lambda body: body["params"].update(
        _meta={**body["params"].get("_meta", {}), "progressToken": None}
    ),
}
MODERN_ODD: dict[str, Any] = {
    "no meta": changed("params _meta", None),
    "meta of null": lambda body: body["params"].update(_meta=None),
    "no version": changed(f"params _meta {PREFIX}protocolVersion", None),
    "another version": changed(f"params _meta {PREFIX}protocolVersion", OLDER),
    "a number as version": changed(f"params _meta {PREFIX}protocolVersion", 1),
    "no capabilities": changed(f"params _meta {PREFIX}clientCapabilities", None),
    "bad capabilities": changed(f"params _meta {PREFIX}clientCapabilities", []),
    "a bad capability": changed(f"params _meta {PREFIX}clientCapabilities", {"sampling": 1}),
    "a bad client": changed(f"params _meta {PREFIX}clientInfo", {"name": 1}),
    "a bad level": changed(f"params _meta {PREFIX}logLevel", "loud"),
}


@pytest.mark.parametrize(
    ("version", "name"),
    [(version, name) for version in (NEWEST, OLDER) for name in ODD]
    + [(NEWEST, name) for name in MODERN_ODD],
)
async def test_odd_messages_go_to_the_sdk(went: list[str], version: str, name: str) -> None:
    body = counting(version)
    (ODD | MODERN_ODD)[name](body)
    async with Both(went).serving() as both:
        _, way = await both.post(body, headers_of(version, "count_memories"))
        assert way == "sdk"


@VERSIONS
@pytest.mark.parametrize(
    "altered",
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
async def test_bodies_of_any_kind(went: list[str], version: str, altered: Any) -> None:
    body = altered(json.dumps(counting(version)))
    async with Both(went).serving() as both:
        headers = headers_of(version, "count_memories")
        await both.post(body.encode() if isinstance(body, str) else body, headers)


@VERSIONS
async def test_a_body_in_pieces(went: list[str], version: str) -> None:
    async with Both(went).serving() as both:
        headers = headers_of(version, "count_memories")
        answer, way = await both.post(counting(version), headers, pieces=3)
        assert (answer.status_code, way) == (200, "direct")


@VERSIONS
@pytest.mark.parametrize(
    ("name", "value", "way"),
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
async def test_headers_of_any_kind(
    went: list[str], version: str, name: str, value: str, way: str | None
) -> None:
    """None is refused before either."""
    headers = {**headers_of(version, "count_memories"), name: value}
    sent = [(key, kept.encode()) for key, kept in headers.items()]
    async with Both(went).serving() as both:
        answer, taken = await both.post(counting(version), sent)  # type: ignore[arg-type]
        assert answer.status_code >= 400 if way is None else taken == way


@VERSIONS
@pytest.mark.parametrize(
    "name", ["accept", "content-type", "mcp-protocol-version", "mcp-method", "mcp-name"]
)
async def test_headers_missing_or_given_twice(went: list[str], version: str, name: str) -> None:
    headers = headers_of(version, "count_memories")
    value = headers.pop(name, "x")
    async with Both(went).serving() as both:
        # httpx2 would put in an Accept of its own.
        left = {"accept": "", **headers} if name == "accept" else headers
        await both.post(counting(version), left)
        _, way = await both.post(counting(version), [*headers.items(), (name, value)] * 2)
        assert way == "sdk"
        await both.post(counting(version), {**headers, name: f"{value}x"})


@pytest.mark.parametrize("name", ["=?base64?Y291bnRfbWVtb3JpZXM=?=", "=?base64?*?="])
async def test_a_name_in_base64(went: list[str], name: str) -> None:
    headers = {**headers_of(NEWEST, "count_memories"), "mcp-name": name}
    async with Both(went).serving() as both:
        answer, _ = await both.post(counting(NEWEST), headers)
        assert answer.status_code == (400 if "*" in name else 200)


@pytest.mark.parametrize("version", HANDSHAKE_PROTOCOL_VERSIONS)
async def test_a_new_message_under_an_older_version(went: list[str], version: str) -> None:
    async with Both(went).serving() as both:
        headers = headers_of(NEWEST, "count_memories") | {"mcp-protocol-version": version}
        answer, _ = await both.post(counting(NEWEST), headers)
        assert answer.status_code == 200


@VERSIONS
async def test_a_caller_who_goes_away(went: list[str], version: str) -> None:
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
    begun: Message = {
        "type": "http.request",
        "body": json.dumps(counting(version)).encode(),
        "more_body": True,
    }
    ends = []
    async with Both(went).serving() as both:
        for side in both.sides:
            messages: list[Message] = [begun, {"type": "http.disconnect"}]
            sent: list[Message] = []

            async def receive(left: list[Message] = messages) -> Message:
                return left.pop(0)

            async def send(message: Message, sent: list[Message] = sent) -> None:
                sent.append(message)

            raised: type[Exception] | None = None
            try:
                await side.app(scope, receive, send)
            except Exception as error:
                raised = type(error)
            assert not messages
            assert side.metrics.tools == []
            ends.append((sent, raised))
    assert ends[0] == ends[1]
