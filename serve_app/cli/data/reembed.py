import argparse

from serve_app.cli.command import Command, whole_number
from serve_app.settings import load_settings

_PARALLEL = 4
_MOST_PARALLEL = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="NAME", help="as in MEMEX_EMBEDDING_MODEL")
    parser.add_argument("--precision", choices=("int8", "fp32"), help="of the default model")
    parser.add_argument(
        "--parallel",
        type=whole_number("pages", most=_MOST_PARALLEL),
        default=_PARALLEL,
        metavar="N",
        help=f"pages of memories under way in a running service (default: {_PARALLEL})",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--status", action="store_true", help="say how far a run is")
    instead.add_argument("--abandon", action="store_true", help="drop what a run has built")


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    from serve_app.operations.reembed.command import abandon, reembed, tell_status
    from serve_app.operations.reembed.wish import Wish

    if arguments.status:
        tell_status(settings)
    elif arguments.abandon:
        abandon(settings)
    else:
        reembed(settings, Wish(arguments.model, arguments.precision, arguments.parallel))
    return 0


COMMAND = Command(
    "reembed",
    "move all memories to another embedding model or precision; the service may run",
    run,
    add_arguments,
)
