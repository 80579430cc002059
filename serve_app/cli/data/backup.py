import argparse
from pathlib import Path

from serve_app.cli.command import Command, whole_number
from serve_app.settings import load_settings

_KEPT_DAYS = 7


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--to",
        type=Path,
        metavar="FOLDER",
        help="the folder to write to (default: backups in MEMEX_DATA_DIR)",
    )
    parser.add_argument(
        "--keep",
        type=whole_number("days"),
        default=_KEPT_DAYS,
        metavar="N",
        help="keep the backups of the newest N days that have any, of each day before today only "
        f"the newest (default: {_KEPT_DAYS})",
    )


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    from serve_app.operations.backup.backup import backup

    backup(settings, arguments.to, arguments.keep)
    return 0


COMMAND = Command(
    "backup",
    "write all memories to a file and delete old backups; the service may run",
    run,
    add_arguments,
    stop_message="stopped; no backup was written",
)
