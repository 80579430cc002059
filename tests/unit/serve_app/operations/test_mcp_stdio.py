import signal
import subprocess
import sys
import time
from typing import Any

import httpx2
import pytest

from serve_app.mcp.scope import FixedScope
from serve_app.operations.mcp_stdio import RemoteBackend
from tests.support.mcp.calls import text


async def error_of_call(url: str, **arguments: Any) -> str:
    async with httpx2.AsyncClient() as http:
        backend = RemoteBackend(url, http)
        result = await backend.call_tool("store_memory", arguments, FixedScope())
    assert result.is_error
    return text(result)


async def test_nan_is_refused_instead_of_sent_as_null() -> None:
    message = await error_of_call("http://127.0.0.1:1/mcp", metadata={"a": float("nan")})
    assert message == "arguments: must not contain numbers that are not finite"


async def test_unreachable_service_is_reported() -> None:
    message = await error_of_call("http://127.0.0.1:1/mcp")
    assert message.startswith("memex does not answer at http://127.0.0.1:1/mcp")


@pytest.mark.parametrize(
    "url", ["", "foo bar", "ftp://x", "127.0.0.1:1/mcp", "http://[bad", "http://h:999999"]
)
def test_invalid_urls_are_refused(url: str) -> None:
    command = [sys.executable, "-m", "serve_app.cli", "mcp", "--url", url]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert result.returncode == 1
    assert result.stderr == "memex: --url: must be like http://127.0.0.1:8000/mcp\n"
    assert result.stdout == ""


def test_ctrl_c_ends_the_command_while_stdin_is_open() -> None:
    command = [sys.executable, "-m", "serve_app.cli", "mcp"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
        process.stdin.flush()
        assert b'"id":1' in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + 10
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        code = process.poll()
        process.kill()
        assert process.stderr.read() == b""
    assert code == -signal.SIGINT
