"""The tools, resources and prompts that the conformance suite requires of a server and that the
product does not have. The suite defines their names and texts."""

import asyncio
import base64
import io
import json
import struct
import wave
import zlib
from functools import partial
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.server.mcpserver.tools import Tool
from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    ClientCapabilities,
    CompleteRequestParams,
    CompleteResult,
    Completion,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    MissingRequiredClientCapabilityErrorData,
    PromptReference,
    SamplingCapability,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

ToolContext = Context[Any, Any]
TEMPLATE_PREFIX = "test://template/"
_PAUSE_S = 0.05
_JSON_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def build_fixtures() -> MCPServer:
    def json_schema_2020_12_tool(name: str = "") -> str:
        return name

    schema_tool = Tool.from_function(
        json_schema_2020_12_tool, description="Has schema keywords that must be kept."
    )
    fixtures = MCPServer(
        "fixtures",
        tools=[schema_tool.model_copy(update={"parameters": _JSON_SCHEMA})],
        log_level="WARNING",
    )
    _add_content(fixtures)
    _add_behaviour(fixtures)
    _add_resources(fixtures)
    _add_prompts(fixtures)
    return fixtures


def _add_content(fixtures: MCPServer) -> None:
    tool = partial(fixtures.tool, structured_output=False)

    @tool(description="Returns text.")
    def test_simple_text() -> str:
        return "This is a simple text response for testing."

    @tool(description="Returns an image.")
    def test_image_content() -> list[ContentBlock]:
        return [_image()]

    @tool(description="Returns a sound.")
    def test_audio_content() -> list[ContentBlock]:
        return [AudioContent(type="audio", data=_base64(_wav()), mime_type="audio/wav")]

    @tool(description="Returns a resource.")
    def test_embedded_resource() -> list[ContentBlock]:
        return [
            _embedded(
                "test://embedded-resource", "This is an embedded resource content.", "text/plain"
            )
        ]

    @tool(description="Returns content of several types.")
    def test_multiple_content_types() -> list[ContentBlock]:
        text = json.dumps({"test": "data", "value": 123})
        return [
            TextContent(type="text", text="Multiple content types test:"),
            _image(),
            _embedded("test://mixed-content-resource", text, "application/json"),
        ]

    @tool(description="Has an argument that clients repeat in a header.")
    def test_custom_header(
        region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "",
    ) -> str:
        return region


def _add_behaviour(fixtures: MCPServer) -> None:
    tool = partial(fixtures.tool, structured_output=False)

    @tool(description="Always fails.")
    def test_error_handling() -> str:
        raise ToolError("This tool intentionally returns an error for testing")

    @tool(description="Logs three times.")
    async def test_tool_with_logging(ctx: ToolContext) -> str:
        await ctx.info("Tool execution started")
        await asyncio.sleep(_PAUSE_S)
        await ctx.info("Tool processing data")
        await asyncio.sleep(_PAUSE_S)
        await ctx.info("Tool execution completed")
        return "logged"

    @tool(description="Logs once, if the client asked for logs.")
    async def test_logging_tool(ctx: ToolContext) -> str:
        await ctx.info("logged")
        return "logged"

    @tool(description="Reports progress three times.")
    async def test_tool_with_progress(ctx: ToolContext) -> str:
        for done in (0, 50, 100):
            await ctx.report_progress(done, 100)
            await asyncio.sleep(_PAUSE_S)
        return "done"

    @tool(description="Needs a client that can sample.")
    def test_missing_capability(ctx: ToolContext) -> str:
        declared = ctx.client_capabilities
        if declared is None or declared.sampling is None:
            data = MissingRequiredClientCapabilityErrorData(
                required_capabilities=ClientCapabilities(sampling=SamplingCapability())
            )
            raise MCPError(
                MISSING_REQUIRED_CLIENT_CAPABILITY,
                "the client cannot sample",
                data.model_dump(by_alias=True, mode="json", exclude_none=True),
            )
        return "the client can sample"

    @tool(description="Notifies listeners that the tools changed.")
    async def test_trigger_tool_change(ctx: ToolContext) -> str:
        await ctx.notify_tools_changed()
        return "told"

    @tool(description="Notifies listeners that the prompts changed.")
    async def test_trigger_prompt_change(ctx: ToolContext) -> str:
        await ctx.notify_prompts_changed()
        return "told"


def _add_resources(fixtures: MCPServer) -> None:
    @fixtures.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        return "This is the content of the static text resource."

    @fixtures.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        return _png()

    @fixtures.resource("test://watched-resource", mime_type="text/plain")
    def watched_resource() -> str:
        return "This resource can be subscribed to."

    @fixtures.resource(f"{TEMPLATE_PREFIX}{{id}}/data", mime_type="application/json")
    def from_template(id: str) -> str:  # noqa: A002 - the name in the template
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


def _add_prompts(fixtures: MCPServer) -> None:
    @fixtures.prompt(description="Without arguments.")
    def test_simple_prompt() -> str:
        return "This is a simple prompt for testing."

    @fixtures.prompt(description="With two arguments.")
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @fixtures.prompt(description="With a resource.")
    def test_prompt_with_embedded_resource(
        resourceUri: str,  # noqa: N803 - the name in the suite
    ) -> list[UserMessage]:
        text = "Embedded resource content for testing."
        return [
            UserMessage(_embedded(resourceUri, text, "text/plain")),
            UserMessage("Please process the embedded resource above."),
        ]

    @fixtures.prompt(description="With an image.")
    def test_prompt_with_image() -> list[UserMessage]:
        return [UserMessage(_image()), UserMessage("Please analyze the image above.")]


async def complete(_context: object, params: CompleteRequestParams) -> CompleteResult:
    known = ["test-one", "test-two"] if isinstance(params.ref, PromptReference) else []
    values = [value for value in known if value.startswith(params.argument.value)]
    return CompleteResult(completion=Completion(values=values, total=len(values)))


def _embedded(uri: str, text: str, mime_type: str) -> EmbeddedResource:
    contents = TextResourceContents(uri=uri, text=text, mime_type=mime_type)
    return EmbeddedResource(type="resource", resource=contents)


def _image() -> ImageContent:
    return ImageContent(type="image", data=_base64(_png()), mime_type="image/png")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _png() -> bytes:
    """One red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\x00\xff\x00\x00")
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _wav() -> bytes:
    """Ten milliseconds of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8_000)
        sound.writeframes(bytes(2 * 80))
    return file.getvalue()
