import argparse

from serve_app.cli.command import Command
from serve_app.settings import load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="default: -, which is stdout"
    )
    parser.add_argument("--url", help="of the service (default: this machine's)")
    parser.add_argument("--agent", required=True, help="whose memories")
    parser.add_argument("--user", help="of one user (default: of all)")


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    from serve_app.operations.running import api_url
    from serve_app.operations.transfer.export import export

    url = arguments.url or api_url(settings)
    export(url, arguments.agent, arguments.user, arguments.file)
    return 0


COMMAND = Command(
    "export",
    "write an agent's memories to a file, a line of JSON each, over the API",
    run,
    add_arguments,
    if_stopped="stopped; the export is not whole, and no file was written",
)
