import argparse

from serve_app.cli.command import Command, whole_number
from serve_app.settings import load_settings

_PORT = 9090


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port",
        type=int,
        default=_PORT,
        help=f"Prometheus's port, another if it is taken (default: {_PORT})",
    )
    parser.add_argument(
        "--every",
        type=whole_number("seconds"),
        metavar="SECONDS",
        help="how often Prometheus scrapes the service (default: 5)",
    )


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    from serve_app.operations.observe import observe

    observe(settings, arguments.port, arguments.every)
    return 0


COMMAND = Command(
    "observe", "run Prometheus on the running service until Ctrl-C", run, add_arguments
)
