import argparse
import os
from collections.abc import Callable

from deployments.domain.errors import BadSetting
from serve_app.cli.command import Command
from serve_app.settings import Settings, load_settings, variables

_FLAGS = ("host", "port", "dashboard-port", "data-dir", "profile", "allowed-hosts")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    fields = {variable: path[0] for variable, path in variables().items()}
    for flag in _FLAGS:
        variable = _variable(flag)
        description = Settings.model_fields[fields[variable]].description
        parser.add_argument(
            f"--{flag}",
            type=_value_of(variable),
            metavar=flag.rpartition("-")[2].upper(),
            help=f"{description} Overrides {variable}.",
        )


def _variable(flag: str) -> str:
    return f"MEMEX_{flag.replace('-', '_').upper()}"


def _value_of(variable: str) -> Callable[[str], str]:
    """An argument's type: what the variable accepts."""

    def read(text: str) -> str:
        try:
            load_settings({variable: text})
        except BadSetting as error:
            reason = str(error).removeprefix(f"{variable}: ")
            raise argparse.ArgumentTypeError(reason) from None
        return text

    return read


def run(arguments: argparse.Namespace) -> int:
    for flag in _FLAGS:
        value = getattr(arguments, flag.replace("-", "_"))
        if value is not None:
            os.environ[_variable(flag)] = value  # for the replicas, too
    settings = load_settings()
    from serve_app.operations.serve.launcher import serve

    serve(settings)
    return 0


COMMAND = Command(
    "serve",
    "run the whole service on this machine until Ctrl-C",
    run,
    add_arguments,
    ends_process=True,  # see LocalCluster.stop
)
