import argparse

from serve_app.cli.command import Command
from serve_app.settings import load_settings


def run(_arguments: argparse.Namespace) -> int:
    settings = load_settings()
    from serve_app.operations.serve.launcher import serve

    serve(settings)
    return 0


COMMAND = Command(
    "serve",
    "run the whole service on this machine until Ctrl-C (settings: MEMEX_… variables)",
    run,
    ends_process=True,  # see LocalCluster.stop
)
