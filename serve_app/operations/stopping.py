"""How a command that changes things is stopped: whole, by whatever signal asks for it."""

import asyncio
import signal
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """asyncio.run, which has Ctrl-C cancel `main`, with the other signals doing the same.

    Raises KeyboardInterrupt when `main` has ended upon any of them.
    """

    async def cancelled_by_signals() -> _T:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup means to go on
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await main

    try:
        return asyncio.run(cancelled_by_signals())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def uninterrupted(step: Awaitable[_T]) -> _T:
    """Await a short step whole: who asks us to stop meanwhile comes too late."""
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


def too_late() -> None:
    """All is done: from here on signals would only make what was done look undone."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
