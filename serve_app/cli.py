"""The `memex` command."""

import argparse
import importlib.metadata
import sys
from pathlib import Path

from deployments.domain.errors import (
    BackupFailed,
    InvalidInput,
    ReembeddingFailed,
    StartupError,
    TransferFailed,
    Unavailable,
)
from serve_app.settings import Settings, load_settings

_KEPT_DAYS = 7
_PROMETHEUS_PORT = 9090
_COUNTED_S = 10.0  # the exporters tell anew every few seconds
_PARALLEL = 4
_MOST_PARALLEL = 64
_STOPPED = {
    "backup": "stopped; no backup was written",
    "doctor": "stopped",
    "status": "stopped",
    "restore": "stopped; the database is as it was",
    "export": "stopped; the export is not whole, and no file was written",
}


def main() -> int:
    """Exit code 0 where all went well, 1 where a command cannot be carried out, 2 for bad usage."""
    arguments = _parser().parse_args()
    code = _carry_out(arguments)
    if arguments.command == "serve":
        from serve_app.local.processes import leave

        leave(code)  # see LocalCluster.stop
    return code


def _parser() -> argparse.ArgumentParser:
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
    saving = commands.add_parser(
        "backup", help="write all memories to a file, and delete old backups; the service may run"
    )
    saving.add_argument(
        "--to", type=Path, metavar="FOLDER", help="default: backups in MEMEX_DATA_DIR"
    )
    saving.add_argument(
        "--keep",
        type=_days,
        default=_KEPT_DAYS,
        metavar="N",
        help=f"of so many days (default: {_KEPT_DAYS}); of each before today the newest stays",
    )
    restoring = commands.add_parser(
        "restore", help="put a backup's memories into the database; stop the service first"
    )
    restoring.add_argument("file", type=Path, metavar="FILE", help="memex-….dump")
    restoring.add_argument(
        "--replace", action="store_true", help="and delete the memories that are there"
    )
    summarising = commands.add_parser(
        "summarise", help="have a running service condense what is due now"
    )
    summarising.add_argument("--url", help="of the service (default: this machine's)")
    summarising.add_argument("--agent", help="of this agent's memories alone")
    summarising.add_argument("--user", help="of this user's alone; needs --agent")
    observing = commands.add_parser(
        "observe", help="run Prometheus over the running service until Ctrl-C"
    )
    observing.add_argument(
        "--port", type=int, default=_PROMETHEUS_PORT, help=f"default: {_PROMETHEUS_PORT}"
    )
    observing.add_argument(
        "--every", type=_seconds, metavar="SECONDS", help="between two looks at it (default: 5)"
    )
    examining = commands.add_parser(
        "doctor", help="look at all that the service needs, and say what to do where it is not well"
    )
    telling = commands.add_parser("status", help="how the running service does")
    telling.add_argument("--url", help="of another service's API (default: this machine's)")
    telling.add_argument(
        "--over",
        type=_span,
        default=_COUNTED_S,
        metavar="SECONDS",
        help=f"count requests for so long (default: {_COUNTED_S:g}; 0 does not count)",
    )
    for looking in (examining, telling):
        looking.add_argument("--json", action="store_true", help="for programs")
    moving = commands.add_parser(
        "reembed",
        help="move all memories to another embedding model or precision; the service may run",
    )
    moving.add_argument("--model", metavar="NAME", help="as in MEMEX_EMBEDDING_MODEL")
    moving.add_argument("--precision", choices=("int8", "fp32"), help="of the default model")
    moving.add_argument(
        "--parallel",
        type=_count,
        default=_PARALLEL,
        metavar="N",
        help=f"pages of memories under way in a running service (default: {_PARALLEL})",
    )
    instead = moving.add_mutually_exclusive_group()
    instead.add_argument("--status", action="store_true", help="say how far a run is")
    instead.add_argument("--abandon", action="store_true", help="drop what a run has built")
    over_stdio = commands.add_parser(
        "mcp", help="serve the tools of a running service over stdin and stdout, for MCP clients"
    )
    over_stdio.add_argument("--url", help="of the service's MCP endpoint (default: this machine's)")
    over_stdio.add_argument("--agent", help="fix the agent, whom the model then cannot choose")
    over_stdio.add_argument("--user", help="fix the user, whom the model then cannot choose")
    exporting = commands.add_parser(
        "export", help="write an agent's memories to a file, a line of JSON each, over the API"
    )
    exporting.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="default: -, which is stdout"
    )
    importing = commands.add_parser(
        "import", help="store an export's memories over the API; again, to go on where it stopped"
    )
    importing.add_argument("file", metavar="FILE", help="- is stdin")
    for transfer in (exporting, importing):
        transfer.add_argument("--url", help="of the service (default: this machine's)")
        transfer.add_argument("--agent", required=True, help="whose memories")
    exporting.add_argument("--user", help="of one user (default: of all)")
    return parser


def _carry_out(arguments: argparse.Namespace) -> int:
    command = arguments.command
    try:
        if command == "doctor":
            from serve_app.local.doctor import doctor

            return 0 if doctor(arguments.json) else 1
        settings = load_settings()  # before slow imports: bad ones are said at once
        if command == "serve":
            from serve_app.local.launcher import serve

            serve(settings)
        elif command == "mcp":
            from serve_app.mcp.stdio import run

            url = f"{_url(settings)}/mcp" if arguments.url is None else arguments.url
            run(url, arguments.agent, arguments.user)
        elif command == "summarise":
            from serve_app.local.summarise import summarise

            url = (arguments.url or _url(settings)).rstrip("/")
            return 0 if summarise(url, arguments.agent, arguments.user) else 1
        elif command == "observe":
            from serve_app.local.observe import observe

            observe(settings, arguments.port, arguments.every)
        elif command == "export":
            from serve_app.transfer.export import export

            export(arguments.url or _url(settings), arguments.agent, arguments.user, arguments.file)
        elif command == "import":
            from serve_app.transfer.importing import import_file

            url = arguments.url or _url(settings)
            return 0 if import_file(url, arguments.agent, arguments.file) else 1
        elif command == "backup":
            from serve_app.local.backup import backup

            backup(settings, arguments.to, arguments.keep)
        elif command == "restore":
            from serve_app.local.restore import restore

            restore(settings, arguments.file, arguments.replace)
        elif command == "status":
            from serve_app.local.status import status

            return 0 if status(settings, arguments.url, arguments.over, arguments.json) else 1
        elif command == "reembed":
            from serve_app.local.reembed.command import abandon, reembed, tell_status
            from serve_app.local.reembed.wish import Wish

            if arguments.status:
                tell_status(settings)
            elif arguments.abandon:
                abandon(settings)
            else:
                reembed(settings, Wish(arguments.model, arguments.precision, arguments.parallel))
        else:
            from serve_app.local.reindex import reindex

            reindex(settings)
    except (
        StartupError,
        Unavailable,
        InvalidInput,
        BackupFailed,
        ReembeddingFailed,
        TransferFailed,
    ) as error:
        print(f"memex: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # the launcher has its own way with signals
        how = _STOPPED.get(command, "stopped; run it again to go on")
        print(f"memex: {how}", file=sys.stderr)
        return 130
    return 0


def _days(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("a number of days, at least 1")
    return int(text)


def _seconds(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("a number of seconds, at least 1")
    return int(text)


def _url(settings: Settings) -> str:
    from serve_app.local.running import api_url

    return api_url(settings)


def _span(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 600:
        raise argparse.ArgumentTypeError("a number of seconds, at most 600")
    return seconds


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_PARALLEL:
        raise argparse.ArgumentTypeError(f"a number from 1 to {_MOST_PARALLEL}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
