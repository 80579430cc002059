import argparse

from serve_app.cli.command import Command
from serve_app.settings import load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="the service's MCP endpoint (default: this machine's)")
    parser.add_argument("--agent", help="fix the agent, so that the model cannot choose it")
    parser.add_argument("--user", help="fix the user, so that the model cannot choose it")


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    from serve_app.operations.mcp_stdio import serve_over_stdio
    from serve_app.operations.running import api_url

    url = f"{api_url(settings)}/mcp" if arguments.url is None else arguments.url
    serve_over_stdio(url, arguments.agent, arguments.user)
    return 0


COMMAND = Command(
    "mcp",
    "serve a running service's MCP tools over stdin and stdout",
    run,
    add_arguments,
)
