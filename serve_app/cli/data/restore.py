import argparse
from pathlib import Path

from serve_app.cli.command import Command
from serve_app.settings import load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="the backup, memex-….dump")
    parser.add_argument(
        "--replace", action="store_true", help="delete the memories that the database holds"
    )


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    from serve_app.operations.backup.restore import restore

    restore(settings, arguments.file, arguments.replace)
    return 0


COMMAND = Command(
    "restore",
    "load a backup's memories into the database; stop the service first",
    run,
    add_arguments,
    stop_message="stopped; the database is unchanged",
)
