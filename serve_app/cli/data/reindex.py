import argparse

from serve_app.cli.command import Command
from serve_app.settings import load_settings


def run(_arguments: argparse.Namespace) -> int:
    settings = load_settings()
    from serve_app.operations.reindex import reindex

    reindex(settings)
    return 0


COMMAND = Command(
    "reindex",
    "update the stored terms of all memories and recount them; the service may run",
    run,
)
