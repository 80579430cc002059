"""Requests that Schemathesis makes up from the published schemas: none is answered by 500 or more,
and each answer is as documented. MEMEX_FUZZ_S sets for how long each test runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mcp import Client

from tests.support.fuzzing.mcp_document import mcp_document
from tests.support.ray.service import Service

_SECONDS = os.environ.get("MEMEX_FUZZ_S", "30")
# A tool answers bad arguments with 200 and an error.
_ALWAYS = "not_a_server_error,response_schema_conformance"
_SUPPORT = Path(__file__).parents[2] / "support" / "fuzzing"


async def test_rest_routes_answer_any_input_as_documented(service: Service, tmp_path: Path) -> None:
    fuzz(f"{service.url}/openapi.json", service.url, tmp_path)


async def test_mcp_tools_answer_any_arguments(service: Service, tmp_path: Path) -> None:
    async with Client(f"{service.url}/mcp") as client:
        tools = (await client.list_tools()).tools
    document = tmp_path / "mcp.json"
    document.write_text(json.dumps(mcp_document(tools)))
    fuzz(str(document), service.url, tmp_path, "--checks", _ALWAYS)


def fuzz(document: str, url: str, folder: Path, *options: str) -> None:
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file", str(_SUPPORT / "schemathesis.toml"),
        "run", document, "--url", url,
        "--max-time", _SECONDS,
        "--continue-on-failure",
        *options,
    ]  # fmt: skip
    hooks = {"SCHEMATHESIS_HOOKS": "tests.support.fuzzing.hooks"}
    environment = {**os.environ, **hooks, "PYTHONPATH": str(_SUPPORT.parents[2])}
    limit_s = float(_SECONDS) + 60
    run = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=limit_s
    )
    if run.returncode:
        pytest.fail(run.stdout[-8_000:] + run.stderr[-2_000:])
    assert "generated" in run.stdout
