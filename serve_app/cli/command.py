"""What a command is, and the kinds of arguments that commands share."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass


def _no_arguments(_parser: argparse.ArgumentParser) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Command:
    """One command of `memex`. Its module imports what is slow to import in `run` alone."""

    name: str
    help: str
    run: Callable[[argparse.Namespace], int]
    """The exit code. May raise MemexError, whose message is one line for the user."""
    add_arguments: Callable[[argparse.ArgumentParser], None] = _no_arguments
    if_stopped: str = "stopped; run it again to go on"
    """What is printed after Ctrl-C."""
    ends_process: bool = False
    """Whether the process ends at once, without what libraries have registered to be done then."""


def whole_number(of: str, least: int = 1, most: int | None = None) -> Callable[[str], int]:
    """An argument's type: `of` names what it counts, such as "days"."""
    bounds = f"from {least} to {most}" if most is not None else f"at least {least}"

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
            raise argparse.ArgumentTypeError(f"a number of {of}, {bounds}")
        return int(text)

    return read


def span_s(most: float) -> Callable[[str], float]:
    """An argument's type: seconds, from 0 to `most`."""

    def read(text: str) -> float:
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= most:
            raise argparse.ArgumentTypeError(f"a number of seconds, at most {most:g}")
        return seconds

    return read
