"""The `memex` command."""

import argparse
import importlib.metadata
import sys

from deployments.domain.errors import StartupError
from serve_app.settings import load_settings


def main() -> int:
    """Exit code 0 where all went well, 1 where the service could not start, 2 for bad usage."""
    parser = argparse.ArgumentParser(prog="memex", description="Persistent memory for AI agents.")
    parser.add_argument(
        "--version", action="version", version=importlib.metadata.version("memex-serve")
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "serve", help="run the whole service on this machine until Ctrl-C (settings: MEMEX_…)"
    )
    parser.parse_args()
    try:
        settings = load_settings()
        from serve_app.local.launcher import serve  # not before the settings are known to be good

        serve(settings)
    except StartupError as error:
        print(f"memex: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
