"""A command of `memex`, and the argument types that commands share."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass


def _no_arguments(_parser: argparse.ArgumentParser) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Command:
    """One command of `memex`. Its module imports slow modules only in `run`."""

    name: str
    help: str
    run: Callable[[argparse.Namespace], int]
    """Returns the exit code. May raise MemexError, whose message is one line for the user."""
    add_arguments: Callable[[argparse.ArgumentParser], None] = _no_arguments
    stop_message: str = "stopped; run it again to continue"
    """Printed after Ctrl-C."""
    ends_process: bool = False
    """Whether the process ends at once, without the exit handlers that libraries registered."""


def whole_number(unit: str, least: int = 1, most: int | None = None) -> Callable[[str], int]:
    """An argument's type: a whole number of `unit`, such as "days"."""
    bounds = f"from {least} to {most}" if most is not None else f"at least {least}"

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
            raise argparse.ArgumentTypeError(f"must be a number of {unit}, {bounds}")
        return int(text)

    return read


def duration_s(most_s: float) -> Callable[[str], float]:
    """An argument's type: seconds, from 0 to `most_s`."""

    def read(text: str) -> float:
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= most_s:
            raise argparse.ArgumentTypeError(f"must be a number of seconds from 0 to {most_s:g}")
        return seconds

    return read
