"""Progress bars, on standard error. Where that is no terminal there are none, unless asked for."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from tqdm import tqdm

_LARGE = 99_999  # larger counts are shown in thousands and so on
_BEFORE_THE_FIRST = 1e-9  # draws nothing until something is shown


Step: TypeAlias = Callable[[str, int, int], None]
"""Called with a step's name, how much of it is done, and of how much."""


class Progress:
    """What a command reports to its bar."""

    def __init__(self, bar: tqdm) -> None:
        self._bar = bar
        self._step = ""

    def add(self, done: int) -> None:
        self._bar.update(done)

    def show(self, done: int, total: int | None = None) -> None:
        """In all, not since the last time."""
        if self._bar.disable:
            return
        if total is not None:
            self._bar.total = max(total, done)  # some totals are estimates
            self._bar.unit_scale |= self._bar.total > _LARGE
        self._bar.update(done - self._bar.n)
        if done >= (self._bar.total or done):
            self._bar.refresh()  # the end, even if it comes right after another update

    def step(self, name: str, done: int, total: int | None = None) -> None:
        """As `show`, of the step `name`, which is drawn at once if it is another one."""
        is_another = name != self._step
        if is_another:
            self._step = name
            self._bar.set_description_str(name, refresh=False)
            self._bar.n = done
        self.show(done, total)
        if is_another:
            self._bar.refresh()

    def start_here(self, done: int) -> None:
        """The rate counts from here: `done` is from an earlier run."""
        self._bar.update(done)
        self._bar.unpause()


@contextmanager
def progress_bar(
    layout: str,
    total: int | None = None,
    *,
    unit: str = "",
    scaled: bool = False,
    always: bool = False,
) -> Iterator[Progress]:
    """`layout` is tqdm's bar_format, behind the program's name. `scaled` shows small counts in
    thousands too, as large ones always are; `always` draws the bar wherever standard error goes."""
    with tqdm(
        total=total,
        bar_format=f"memex: {layout}",
        unit=unit,
        unit_scale=scaled or (total or 0) > _LARGE,
        file=sys.__stderr__,
        disable=False if always else None,
        delay=0 if total is not None else _BEFORE_THE_FIRST,
    ) as bar:
        yield Progress(bar)


def say(text: str) -> None:
    """A line above the bar."""
    tqdm.write(f"memex: {text}", file=sys.stderr)
