import argparse

from serve_app.cli.command import Command
from serve_app.settings import load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="of the service (default: this machine's)")
    parser.add_argument("--agent", help="of this agent's memories alone")
    parser.add_argument("--user", help="of this user's alone; needs --agent")


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    from serve_app.operations.running import api_url
    from serve_app.operations.summarise import summarise

    url = (arguments.url or api_url(settings)).rstrip("/")
    return 0 if summarise(url, arguments.agent, arguments.user) else 1


COMMAND = Command(
    "summarise", "have a running service condense what is due now", run, add_arguments
)
