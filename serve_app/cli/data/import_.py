import argparse

from serve_app.cli.command import Command
from serve_app.settings import load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the file to read; - is stdin")
    parser.add_argument("--url", help="the service's URL (default: this machine's service)")
    parser.add_argument("--agent", required=True, help="the agent that gets the memories")


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    from serve_app.operations.running import api_url
    from serve_app.operations.transfer.importing import import_file

    url = arguments.url or api_url(settings)
    return 0 if import_file(url, arguments.agent, arguments.file) else 1


COMMAND = Command(
    "import",
    "store an export's memories; the service must run; run it again to continue a stopped import",
    run,
    add_arguments,
)
