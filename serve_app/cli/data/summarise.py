import argparse

from serve_app.cli.command import Command
from serve_app.settings import load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="the service's URL (default: this machine's service)")
    parser.add_argument("--agent", help="condense only this agent's memories")
    parser.add_argument("--user", help="condense only this user's memories; needs --agent")


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    from serve_app.operations.running import api_url
    from serve_app.operations.summarise import summarise

    url = (arguments.url or api_url(settings)).rstrip("/")
    return 0 if summarise(url, arguments.agent, arguments.user) else 1


COMMAND = Command(
    "summarise", "condense the memories that are due now; the service must run", run, add_arguments
)
