import argparse

from serve_app.cli.command import Command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    from serve_app.operations.diagnose.doctor import doctor

    return 0 if doctor(arguments.json) else 1


COMMAND = Command(
    "doctor",
    "check everything that the service needs, and print how to fix each failure",
    run,
    add_arguments,
    stop_message="stopped",
)
