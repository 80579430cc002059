import argparse

from serve_app.cli.command import Command
from serve_app.settings import load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        nargs="?",
        default="-",
        metavar="FILE",
        help="the file to write (default: -, stdout)",
    )
    parser.add_argument("--url", help="the service's URL (default: this machine's service)")
    parser.add_argument("--agent", required=True, help="the agent whose memories to export")
    parser.add_argument("--user", help="export only this user's memories (default: all users')")


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    from serve_app.operations.running import api_url
    from serve_app.operations.transfer.export import export

    url = arguments.url or api_url(settings)
    export(url, arguments.agent, arguments.user, arguments.file)
    return 0


COMMAND = Command(
    "export",
    "write an agent's memories to a file as JSON Lines; the service must run",
    run,
    add_arguments,
    stop_message="stopped; the export is incomplete, and no file was written",
)
