"""The `memex` command."""

import argparse
import importlib.metadata
import sys

from deployments.domain.errors import StartupError, Unavailable
from serve_app.settings import load_settings


def main() -> int:
    """Exit code 0 where all went well, 1 where a command cannot be carried out, 2 for bad usage."""
    parser = argparse.ArgumentParser(prog="memex", description="Persistent memory for AI agents.")
    parser.add_argument(
        "--version", action="version", version=importlib.metadata.version("memex-serve")
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "serve", help="run the whole service on this machine until Ctrl-C (settings: MEMEX_…)"
    )
    commands.add_parser(
        "reindex",
        help="renew the words that searches compare and count them anew; the service may run",
    )
    command = parser.parse_args().command
    try:
        settings = load_settings()  # before slow imports: bad ones are said at once
        if command == "serve":
            from serve_app.local.launcher import serve

            serve(settings)
        else:
            from serve_app.local.reindex import reindex

            reindex(settings)
    except (StartupError, Unavailable) as error:
        print(f"memex: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # the launcher has its own way with signals
        print("memex: stopped; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
