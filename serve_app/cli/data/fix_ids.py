import argparse

from serve_app.cli.command import Command
from serve_app.settings import load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--apply", action="store_true", help="rename them; without it the renamings are printed"
    )


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    from serve_app.operations.fix_ids import fix_ids

    fix_ids(settings, arguments.apply)
    return 0


COMMAND = Command(
    "fix-ids",
    "find and rename agents and users whose ids the API refuses; the service may run",
    run,
    add_arguments,
)
