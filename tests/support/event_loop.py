"""Turns of the event loop."""

import asyncio


async def turns(count: int = 20) -> None:
    """Let every task run until it waits for something other than the event loop."""
    for _ in range(count):
        await asyncio.sleep(0)
