import argparse

from serve_app.cli.command import Command
from serve_app.settings import load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="of the service's MCP endpoint (default: this machine's)")
    parser.add_argument("--agent", help="fix the agent, whom the model then cannot choose")
    parser.add_argument("--user", help="fix the user, whom the model then cannot choose")


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    from serve_app.operations.mcp_stdio import serve_over_stdio
    from serve_app.operations.running import api_url

    url = f"{api_url(settings)}/mcp" if arguments.url is None else arguments.url
    serve_over_stdio(url, arguments.agent, arguments.user)
    return 0


COMMAND = Command(
    "mcp",
    "serve the tools of a running service over stdin and stdout, for MCP clients",
    run,
    add_arguments,
)
