"""Runs of the Inspector's command line against the product: list the tools, and call each one."""

import json
from typing import Any

from serve_app.mcp.scope import AGENT_HEADER
from serve_app.mcp.tools import TOOLS
from tests.conformance.node import Node

ERAS = ("legacy", "modern")
"""Eras of the protocol: with `initialize`, and without it."""
_AGENT = "inspected"


class InspectorFailed(Exception):
    """The message is one line."""


class Inspector:
    def __init__(self, node: Node, url: str, era: str) -> None:
        self._node = node
        self._url = url
        self._era = era
        self.requests = 0

    def run(self) -> None:
        """List the tools and call each of them. Raises InspectorFailed."""
        # --strict fails on a schema that some clients or models reject.
        tools = self._ask("tools/list", "--strict")["tools"]
        names = [tool["name"] for tool in tools]
        if names != list(TOOLS):
            raise InspectorFailed(f"tools/list ({self._era}) lists {', '.join(names)}")
        user = {"user_id": f"user of {self._era}"}
        scope = {"agent_id": _AGENT, **user}
        stored = self._call("store_memory", {**scope, "content": "Ann drinks green tea."})
        memory = {"agent_id": _AGENT, "id": stored["id"]}
        self._call("search_memories", {**scope, "query": "green tea"})
        self._call("get_memory", memory)
        self._call("list_memories", scope)
        self._call("update_memory", {**memory, "content": "Ann drinks black tea."})
        self._call("count_memories", scope)
        header = ("--header", f"{AGENT_HEADER}: {_AGENT}")
        counted = self._call("count_memories", user, *header)
        if counted != {"count": 1}:
            raise InspectorFailed(f"count_memories with {AGENT_HEADER} ({self._era}): {counted}")
        self._call("delete_memory", memory)

    def _call(self, tool: str, arguments: dict[str, str], *options: str) -> dict[str, Any]:
        call = ("--tool-name", tool, "--tool-args-json", json.dumps(arguments))
        answer = self._ask("tools/call", *call, *options)
        if "structuredContent" not in answer:
            raise InspectorFailed(f"{tool} ({self._era}) has no structured content: {answer}")
        content: dict[str, Any] = answer["structuredContent"]
        return content

    def _ask(self, method: str, *options: str) -> dict[str, Any]:
        run = self._node.run(
            "inspector", "--cli", "--server-url", self._url, "--transport", "http",
            "--protocol-era", self._era, "--format", "json", "--method", method, *options,
        )  # fmt: skip
        stderr = run.stderr.strip()
        if run.returncode != 0 or stderr:
            command = " ".join([method, *options])
            raise InspectorFailed(f"{command} ({self._era}): {stderr or f'exit {run.returncode}'}")
        self.requests += 1
        answer: dict[str, Any] = json.loads(run.stdout)["result"]
        return answer
