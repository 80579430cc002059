import argparse

from serve_app.cli.command import Command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def run(arguments: argparse.Namespace) -> int:
    from serve_app.operations.diagnose.doctor import doctor

    return 0 if doctor(arguments.json) else 1


COMMAND = Command(
    "doctor",
    "look at all that the service needs, and say what to do where it is not well",
    run,
    add_arguments,
    if_stopped="stopped",
)
