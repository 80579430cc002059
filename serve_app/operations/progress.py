"""Progress bars on stderr; without a terminal only those that are requested."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from tqdm import tqdm

_LARGE = 99_999  # larger counts are shown in thousands, millions and so on
_FIRST_UPDATE_DELAY_S = 1e-9  # tqdm then draws nothing before the first update


Step: TypeAlias = Callable[[str, int, int], None]
"""Called with a step's name, how much of it is done, and the total."""


class Progress:
    """A command's interface to its bar."""

    def __init__(self, bar: tqdm) -> None:
        self._bar = bar
        self._step = ""

    def add(self, done: int) -> None:
        self._bar.update(done)

    def show(self, done: int, total: int | None = None) -> None:
        """Show `done` in all, not since the last call."""
        if self._bar.disable:
            return
        if total is not None:
            self._bar.total = max(total, done)  # some totals are estimates
            self._bar.unit_scale |= self._bar.total > _LARGE
        self._bar.update(done - self._bar.n)
        if done >= (self._bar.total or done):
            self._bar.refresh()  # draws the end even right after another update

    def step(self, name: str, done: int, total: int | None = None) -> None:
        """As `show`, for the step `name`; a new step is drawn at once."""
        is_new = name != self._step
        if is_new:
            self._step = name
            self._bar.set_description_str(name, refresh=False)
            self._bar.n = done
        self.show(done, total)
        if is_new:
            self._bar.refresh()

    def start_here(self, done: int) -> None:
        """Count the rate from here, because `done` is from an earlier run."""
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
    """A bar with `layout`, tqdm's bar_format, after the program's name. `scaled` shows small counts
    in thousands too, as large ones always are; `always` draws the bar without a terminal, too."""
    with tqdm(
        total=total,
        bar_format=f"memex: {layout}",
        unit=unit,
        unit_scale=scaled or (total or 0) > _LARGE,
        file=sys.__stderr__,
        disable=False if always else None,
        delay=0 if total is not None else _FIRST_UPDATE_DELAY_S,
    ) as bar:
        yield Progress(bar)


def print_above_bar(text: str) -> None:
    tqdm.write(f"memex: {text}", file=sys.stderr)
