import argparse

from serve_app.cli.command import Command, duration_s
from serve_app.settings import load_settings

_COUNT_FOR_S = 10.0  # the exporters report every few seconds
_MAX_COUNT_FOR_S = 600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="another service's URL (default: this machine's service)")
    parser.add_argument(
        "--over",
        type=duration_s(_MAX_COUNT_FOR_S),
        default=_COUNT_FOR_S,
        metavar="SECONDS",
        help=f"count requests for this long (default: {_COUNT_FOR_S:g}; 0 does not count)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    from serve_app.operations.diagnose.status import status

    is_healthy = status(settings, arguments.url, arguments.over, arguments.json)
    return 0 if is_healthy else 1


COMMAND = Command(
    "status",
    "print whether the running service is healthy, and its load",
    run,
    add_arguments,
    stop_message="stopped",
)
