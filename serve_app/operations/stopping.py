"""Lets signals stop a command that changes data, without leaving a step half done."""

import asyncio
import signal
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """As asyncio.run, but SIGTERM and SIGHUP cancel `main` too, as Ctrl-C does.

    Raises KeyboardInterrupt after `main` has ended because of a signal.
    """

    async def cancellable() -> _T:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await main

    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def uninterrupted(step: Awaitable[_T]) -> _T:
    """Await a short step to its end; a request to stop meanwhile has no effect."""
    ending = asyncio.ensure_future(step)
    while not ending.done():
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if ending.cancelled() or task is None:
                raise
            task.uncancel()
    return ending.result()


def ignore_signals() -> None:
    """Ignore signals from now on: the work is done, and a signal would make it look undone."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
