import argparse

from serve_app.cli.command import Command, span_s
from serve_app.settings import load_settings

_COUNTED_S = 10.0  # the exporters report every few seconds
_MOST_COUNTED_S = 600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="of another service's API (default: this machine's)")
    parser.add_argument(
        "--over",
        type=span_s(_MOST_COUNTED_S),
        default=_COUNTED_S,
        metavar="SECONDS",
        help=f"count requests for so long (default: {_COUNTED_S:g}; 0 does not count)",
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    from serve_app.operations.diagnose.status import status

    is_well = status(settings, arguments.url, arguments.over, arguments.json)
    return 0 if is_well else 1


COMMAND = Command(
    "status", "how the running service does", run, add_arguments, if_stopped="stopped"
)
