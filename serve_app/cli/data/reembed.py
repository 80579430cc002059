import argparse

from serve_app.cli.command import Command, whole_number
from serve_app.settings import load_settings

_PARALLEL = 4
_MOST_PARALLEL = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", metavar="NAME", help="the new model, as in MEMEX_EMBEDDING_MODEL"
    )
    parser.add_argument(
        "--precision",
        choices=("int8", "fp32"),
        help="the new precision, for the default model only",
    )
    parser.add_argument(
        "--parallel",
        type=whole_number("pages", most=_MOST_PARALLEL),
        default=_PARALLEL,
        metavar="N",
        help=f"pages of memories that a running service embeds at once (default: {_PARALLEL})",
    )
    actions = parser.add_mutually_exclusive_group()
    actions.add_argument("--status", action="store_true", help="print how far a run is, then exit")
    actions.add_argument(
        "--abandon", action="store_true", help="drop the embeddings that a run has built, then exit"
    )


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    from serve_app.operations.reembed.command import abandon, print_status, reembed
    from serve_app.operations.reembed.options import Options

    if arguments.status:
        print_status(settings)
    elif arguments.abandon:
        abandon(settings)
    else:
        reembed(settings, Options(arguments.model, arguments.precision, arguments.parallel))
    return 0


COMMAND = Command(
    "reembed",
    "move all memories to another embedding model or precision; the service may run",
    run,
    add_arguments,
)
