"""The `memex` command: the table of commands, and `main`, which runs one of them."""

import argparse
import importlib.metadata
import sys

from deployments.domain.errors import MemexError
from serve_app.cli.command import Command
from serve_app.cli.data import (
    backup,
    export,
    fix_ids,
    import_,
    reembed,
    reindex,
    restore,
    summarise,
)
from serve_app.cli.service import doctor, mcp, observe, serve, status

COMMANDS: tuple[Command, ...] = (
    serve.COMMAND,
    reindex.COMMAND,
    backup.COMMAND,
    restore.COMMAND,
    summarise.COMMAND,
    observe.COMMAND,
    doctor.COMMAND,
    status.COMMAND,
    reembed.COMMAND,
    mcp.COMMAND,
    fix_ids.COMMAND,
    export.COMMAND,
    import_.COMMAND,
)


def main() -> int:
    """The exit code: 0 for success, 1 for a failed command, 130 after Ctrl-C.

    argparse exits with 2 for bad usage.
    """
    parser = _parser()
    arguments = parser.parse_args()
    command: Command | None = arguments.command
    if command is None:
        parser.print_help()
        return 0
    code = _run(command, arguments)
    if command.ends_process:
        from serve_app.operations.machine.processes import leave

        leave(code)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="memex",
        description="Persistent memory for AI agents.",
        epilog="`memex serve` starts the service. `memex COMMAND --help` has a command's options; "
        "MEMEX_… variables set everything else.",
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"memex {importlib.metadata.version('memex-serve')}",
    )
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        subparser = commands.add_parser(command.name, help=command.help)
        command.add_arguments(subparser)
        subparser.set_defaults(command=command)
    return parser


def _run(command: Command, arguments: argparse.Namespace) -> int:
    try:
        return command.run(arguments)
    except MemexError as error:
        print(f"memex: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # `serve` handles signals itself
        print(f"memex: {command.stop_message}", file=sys.stderr)
        return 130
